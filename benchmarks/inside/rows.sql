-- Credit requests as bronze holds them, made from a range of numbers; the same numbers give the same rows.
-- {first}, {last}: the range; {total}: requests in all, spread over a year; {request}: which one a row is about;
-- {event}: when its producer made it, Unix milliseconds. One row in 200 breaks a constraint of silver.
WITH numbers AS (
  SELECT i, CAST({request} AS BIGINT) AS request FROM range({first}, {last}) AS made(i)
),
keyed AS (
  SELECT *,
    CAST(hash(request, 1) % greatest({total} // 5, 1) AS BIGINT) AS farmer,
    1754006400000 + request * (31536000000 // {total}) AS requested,
    CASE WHEN i % 200 = 17 THEN i // 200 % 6 ELSE -1 END AS broken
  FROM numbers
),
drawn AS (
  SELECT *,
    CAST({event} AS BIGINT) AS event,
    CAST(hash(farmer, 2) % 64 AS BIGINT) AS place,
    hash(farmer, 3) % 100 < 22 AS company,
    CAST(hash(farmer, 4) % 1000 AS BIGINT) AS size,
    CAST(hash(farmer, 5) % 10 AS BIGINT) AS crop,
    CAST(hash(farmer, 6) % 40 AS BIGINT) AS years,
    CAST(hash(farmer, 7) % 900 AS BIGINT) AS standing,
    CAST(hash(i, 8) % 100000 AS BIGINT) AS amount,
    CAST(hash(i, 9) % 100 AS BIGINT) AS luck
  FROM keyed
)
SELECT
  CASE WHEN broken = 0 THEN '' ELSE 'proponente_' || farmer END AS proponente_id,
  CASE WHEN broken = 1 THEN -1 ELSE requested END AS data_solicitacao,
  lpad(CAST(farmer * 7919 AS VARCHAR), CASE WHEN company THEN 14 ELSE 11 END, '0') AS cpf_cnpj,
  CASE WHEN company THEN 'Fazenda ' ELSE 'Maria ' END || farmer AS nome_razao_social,
  CASE WHEN company THEN 'JURIDICA' ELSE 'FISICA' END AS tipo_pessoa,
  CAST(20000 + size * 731 AS DOUBLE) AS renda_bruta_anual_declarada,
  CASE WHEN broken = 2 THEN -5000.0 ELSE 1000 + amount * 4.37 END AS valor_solicitado_credito,
  ['CUSTEIO', 'INVESTIMENTO', 'COMERCIALIZACAO', 'INDUSTRIALIZACAO'][1 + luck % 4] AS finalidade_credito,
  {{
    'latitude': CASE WHEN broken = 5 THEN 91.5 ELSE -30 + place * 0.45 + size * 0.0003 END,
    'longitude': -70 + place * 0.55 + size * 0.0003,
    'municipio': 'Município ' || place,
    'uf': ['SP', 'MG', 'PR', 'RS', 'MT', 'GO', 'BA', 'MS'][1 + place % 8]
  }} AS localizacao_propriedade,
  CASE WHEN broken = 4 THEN 0.0 ELSE 1 + size * size * 0.002 END AS area_total_hectares,
  ['SOJA', 'MILHO', 'CAFE', 'CANA_DE_ACUCAR', 'ALGODAO', 'ARROZ', 'FEIJAO', 'CACAU', 'MANDIOCA', 'LARANJA'][1 + crop]
    AS cultura_principal,
  years > 0 AS possui_experiencia_atividade,
  CAST(years AS INTEGER) AS anos_experiencia,
  {{
    'serasa_score': CAST(CASE WHEN broken = 3 THEN 1500 WHEN luck < 5 THEN NULL ELSE standing + luck END AS INTEGER),
    'ibama_autuacoes_ativas': luck >= 93,
    'numero_matricula_imovel': CASE WHEN luck % 10 < 9 THEN 'MAT-' || farmer END
  }} AS fontes_dados_adicionais,
  {{
    'versao_schema': '1.0',
    'origem_dados': ['PORTAL', 'APLICATIVO', 'AGENCIA', 'COOPERATIVA'][1 + luck % 4],
    'timestamp_geracao_evento': CAST(event + luck * 10 AS BIGINT)
  }} AS metadata_evento,
  make_timestamp(event * 1000) AT TIME ZONE 'UTC' AS ingestion_timestamp,
  'landing/dados_produtores/lote-' || lpad(CAST(i // 10000 AS VARCHAR), 6, '0') || '.avro' AS source_file,
  CAST(i % 10000 AS BIGINT) AS source_row,
  '1000000-1754006400000000000-' || lpad(CAST(i // 10000 AS VARCHAR), 16, '0') AS source_version
FROM drawn
