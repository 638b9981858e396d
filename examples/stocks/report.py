"""The report on prices: Markdown with two pictures, from gold and from the checks of silver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datalab.errors import MissingExtra

if TYPE_CHECKING:
    import pyarrow as pa

Query = Callable[[str], "pa.Table"]

TOTALS = """
    SELECT min(date) AS first_day, max(date) AS last_day, count(*) AS days, sum(record_count) AS prices
    FROM gold.stocks_analytics
"""
CATEGORIES = """
    SELECT volatility_category, count(*) AS days, round(avg(price_volatility), 2) AS price_volatility,
           round(avg(price_range), 2) AS price_range, round(avg(avg_price), 2) AS avg_price
    FROM gold.stocks_analytics GROUP BY volatility_category ORDER BY price_volatility
"""
LATEST = """
    SELECT date, record_count, round(avg_price, 2) AS avg_price, round(median_price, 2) AS median_price,
           round(price_range, 2) AS price_range, total_volume, volatility_category
    FROM gold.stocks_analytics ORDER BY date DESC LIMIT 5
"""
QUALITY = """
    SELECT symbol, count(*) AS prices, round(avg(data_quality_score), 4) AS data_quality_score,
           count_if(data_quality_score < 1) AS failed_a_check
    FROM silver.stocks_cleaned GROUP BY symbol ORDER BY symbol
"""
SERIES = """
    SELECT date, avg_price, min_price, max_price, total_volume FROM gold.stocks_analytics ORDER BY date
"""


def report(query: Query, folder: Path) -> Path:
    """Write `folder`/reports/stocks.md and its pictures; `query` answers SQL. Raises MissingExtra."""
    target = folder / "reports"
    target.mkdir(exist_ok=True)
    draw(query(SERIES).to_pydict(), target)
    totals = query(TOTALS).to_pylist()[0]
    page = target / "stocks.md"
    page.write_text(
        "\n".join(
            [
                "# Prices\n",
                f"{totals['prices']} prices on {totals['days']} days, {totals['first_day']} to {totals['last_day']}.\n",
                "![Closing prices](stocks_prices.png)\n",
                "![Volume](stocks_volume.png)\n",
                "## Days by volatility\n",
                table(query(CATEGORIES)),
                "## The latest days\n",
                table(query(LATEST)),
                "## Quality of the cleaned prices\n",
                table(query(QUALITY)),
            ]
        ),
        encoding="utf-8",
    )
    return page


def table(rows: pa.Table) -> str:
    """Rows as a Markdown table."""
    lines = [rows.column_names, ["---"] * rows.num_columns, *(row.values() for row in rows.to_pylist())]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def draw(series: Mapping[str, Sequence[Any]], folder: Path) -> None:
    """Two pictures over the days: mean close between lowest and highest, and volume."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - everything else here works without it
    except ImportError as error:
        raise MissingExtra("report", "report") from error
    prices, volume = Figure(figsize=(9, 4), layout="constrained"), Figure(figsize=(9, 3), layout="constrained")
    axes = prices.subplots()
    axes.fill_between(series["date"], series["min_price"], series["max_price"], alpha=0.2, label="lowest to highest")
    axes.plot(series["date"], series["avg_price"], linewidth=1, label="mean")
    axes.set(title="Closing prices", ylabel="USD")
    axes.legend()
    axes = volume.subplots()
    axes.bar(series["date"], [float(value or 0) for value in series["total_volume"]], width=1.0)
    axes.set(title="Volume", ylabel="shares")
    prices.savefig(folder / "stocks_prices.png", dpi=110, metadata={"Software": None})
    volume.savefig(folder / "stocks_volume.png", dpi=110, metadata={"Software": None})
