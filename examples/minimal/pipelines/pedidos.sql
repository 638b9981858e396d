-- Every order once; one without a positive amount goes to quarantine before anybody can read it.
CREATE STREAMING TABLE silver.pedidos (
  CONSTRAINT valor_positivo EXPECT (valor > 0) ON VIOLATION DROP ROW
) COMMENT 'Orders with a positive amount'
AS SELECT pedido_id, trim(cliente) AS cliente, data_pedido, valor
FROM STREAM bronze.pedidos;

-- Recomputed only for the customers that new orders touch.
CREATE MATERIALIZED VIEW gold.pedidos_por_cliente COMMENT 'What each customer has ordered'
AS SELECT cliente, count(*) AS pedidos, sum(valor) AS valor_total, max(data_pedido) AS ultimo_pedido
FROM silver.pedidos
GROUP BY cliente;
