#!/usr/bin/env bash
# Ask the scoring server of this project: ./test_api.sh [FILE | --model-info]
#   FILE           a request; none: the approved, the review and the denied case of payloads/
#   --model-info   what is live instead of a score
# DATALAB_API_URL (http://127.0.0.1:8000) and DATALAB_API_KEY say where and as whom:
#   export DATALAB_API_KEY=$(datalab keys create teste --role admin --quiet)
# Exit code: 0 all answered, 1 an answer is not 200, 2 wrong use, 3 no server, 4 no key.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
url=${DATALAB_API_URL:-http://127.0.0.1:8000}
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT

pretty() { python3 -m json.tool --no-ensure-ascii "$1" 2>/dev/null || cat "$1"; }

# The key is handed over on standard input: a command line can be read by everybody on the machine.
call() { # METHOD PATH [FILE]: prints the status, leaves the answer in $answer
  printf 'header = "Authorization: Bearer %s"\n' "$DATALAB_API_KEY" |
    curl --config - --silent --show-error --max-time 30 --output "$answer" --write-out '%{http_code}' \
      --request "$1" ${3:+--header 'Content-Type: application/json' --data-binary "@$3"} "$url$2"
}

failed=0
show() { # STATUS
  echo "< HTTP $1"
  pretty "$answer"
  [ "$1" = 200 ] || failed=1
}

[ $# -le 1 ] || { sed -n '2,7p' "${BASH_SOURCE[0]}" >&2; exit 2; }
[ -n "${DATALAB_API_KEY:-}" ] || { echo "set DATALAB_API_KEY: datalab keys create teste --role admin --quiet" >&2; exit 4; }
status=$(curl --silent --max-time 5 --output "$answer" --write-out '%{http_code}' "$url/health") || {
  echo "no server at $url: datalab serve" >&2
  exit 3
}
echo "> GET $url/health"
show "$status"

case "${1:-}" in
  --model-info)
    echo "> GET $url/v1/model-info"
    show "$(call GET /v1/model-info)"
    ;;
  -*)
    sed -n '2,7p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
  *)
    files=("$@")
    [ $# -eq 1 ] || files=("$here"/payloads/{approve,review,deny}_case.json)
    for file in "${files[@]}"; do
      [ -r "$file" ] || { echo "$file cannot be read" >&2; exit 2; }
      echo "> POST $url/v1/credit-score $file"
      pretty "$file"
      show "$(call POST /v1/credit-score "$file")"
    done
    ;;
esac
exit "$failed"
