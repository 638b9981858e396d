-- Silver: prices that passed the gate, each day of a symbol once, judged by checks.

-- The gate. It fails, and all that reads it waits, while there are fewer rows than min_rows or a row without key.
CREATE MATERIALIZED VIEW silver.stocks_gate (
  CONSTRAINT min_rows EXPECT (record_count >= 1000) ON VIOLATION FAIL UPDATE,
  CONSTRAINT no_null_key EXPECT (null_keys = 0) ON VIOLATION FAIL UPDATE
)
COMMENT 'One row: how much there is to clean'
AS SELECT
  count(*) AS record_count,
  count_if(date IS NULL OR symbol IS NULL OR trim(symbol) = '') AS null_keys
FROM bronze.stocks;

-- Of several deliveries of a day the one in the last file wins, by name and row: the order of arrival does not matter.
CREATE TEMPORARY VIEW stocks_unique AS
SELECT date, symbol, open, high, low, close, volume, record_count
FROM (
  SELECT
    stocks.date,
    upper(trim(stocks.symbol)) AS symbol,
    stocks.open,
    stocks.high,
    stocks.low,
    stocks.close,
    stocks.volume,
    gate.record_count,
    row_number() OVER (
      PARTITION BY stocks.date, upper(trim(stocks.symbol)) ORDER BY stocks.source_file DESC, stocks.source_row DESC
    ) AS delivery
  FROM bronze.stocks AS stocks
  CROSS JOIN silver.stocks_gate AS gate
) AS deliveries
WHERE delivery = 1;

-- z_score: how many standard deviations of its symbol a close lies from the symbol's mean, both of possible prices.
CREATE TEMPORARY VIEW stocks_scored AS
SELECT
  date,
  symbol,
  open,
  high,
  low,
  close,
  volume,
  coalesce(
    (close - avg(CASE WHEN close > 0 THEN close END) OVER (PARTITION BY symbol))
    / nullif(stddev(CASE WHEN close > 0 THEN close END) OVER (PARTITION BY symbol), 0),
    0
  ) AS z_score
FROM stocks_unique
WHERE record_count > 0;

-- data_quality_score: the share of six checks that a row passes, 0 to 1.
CREATE MATERIALIZED VIEW silver.stocks_cleaned (
  CONSTRAINT positive_close EXPECT (close > 0) ON VIOLATION DROP ROW,
  CONSTRAINT within_three_sigma EXPECT (z_score BETWEEN -3 AND 3) ON VIOLATION DROP ROW,
  CONSTRAINT all_checks_passed EXPECT (data_quality_score = 1)
)
COMMENT 'Daily prices per symbol, cleaned'
AS SELECT
  date,
  symbol,
  open,
  high,
  low,
  close,
  volume,
  z_score,
  (
    CASE WHEN open > 0 THEN 1 ELSE 0 END
    + CASE WHEN volume > 0 THEN 1 ELSE 0 END
    + CASE WHEN high >= low AND low > 0 THEN 1 ELSE 0 END
    + CASE WHEN open BETWEEN low AND high THEN 1 ELSE 0 END
    + CASE WHEN close BETWEEN low AND high THEN 1 ELSE 0 END
    + CASE WHEN z_score BETWEEN -2 AND 2 THEN 1 ELSE 0 END
  ) / 6 AS data_quality_score,
  current_timestamp() AS processed_at
FROM stocks_scored;
