#!/bin/sh
# Asks a running server: ./test_api.sh [FILE | --model-info]; without a file, all of payloads/.
# DATALAB_URL is where it is, DATALAB_KEY an API key (datalab keys create NAME --role score; --role read for --model-info).
set -u
url=${DATALAB_URL:-http://127.0.0.1:8000}
here=$(dirname "$0")

pretty() { python3 -m json.tool --no-ensure-ascii; }

ask() { # METHOD PATH [BODY-FILE]: prints the answer; fails unless it is a success
    set -- "$1" "$2" "${3:-}"
    answer=$(curl --silent --show-error --max-time 15 --request "$1" --write-out '\n%{http_code}' \
        --header "Authorization: Bearer ${DATALAB_KEY:-}" ${3:+--header 'Content-Type: application/json' --data-binary "@$3"} \
        "$url$2") || { echo "no answer from $url: datalab serve" >&2; exit 1; }
    printf '%s\n' "$answer" | sed '$d' | pretty
    status=$(printf '%s\n' "$answer" | tail -n 1)
    case $status in 2*) ;; *) echo "$1 $2 answered $status" >&2; exit 1 ;; esac
}

echo "GET $url/health"
ask GET /health
[ -n "${DATALAB_KEY:-}" ] || { echo "set DATALAB_KEY: datalab keys create NAME --role score" >&2; exit 2; }
if [ "${1:-}" = --model-info ]; then
    echo "GET $url/v1/model-info"
    ask GET /v1/model-info
    exit 0
fi
[ $# -gt 0 ] || set -- "$here"/payloads/*.json
for file in "$@"; do
    [ -f "$file" ] || { echo "no such file: $file" >&2; exit 2; }
    echo
    echo "POST $url/v1/credit-score  $file"
    pretty < "$file"
    ask POST /v1/credit-score "$file"
done
