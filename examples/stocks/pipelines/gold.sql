-- Gold: the market of each day, over all symbols, by their closing prices.
-- A day with one symbol has no spread: its price_volatility is 0.
CREATE MATERIALIZED VIEW gold.stocks_analytics
COMMENT 'Daily figures over all symbols'
AS SELECT
  date,
  count(*) AS record_count,
  avg(close) AS avg_price,
  max(close) AS max_price,
  min(close) AS min_price,
  coalesce(stddev(close), 0) AS price_volatility,
  sum(volume) AS total_volume,
  median(close) AS median_price,
  max(close) - min(close) AS price_range,
  sum(volume) / nullif(avg(close), 0) AS volume_price_ratio,
  CASE
    WHEN coalesce(stddev(close), 0) < 5 THEN 'Low'
    WHEN coalesce(stddev(close), 0) < 15 THEN 'Medium'
    ELSE 'High'
  END AS volatility_category
FROM silver.stocks_cleaned
GROUP BY date;
