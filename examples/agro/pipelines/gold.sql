-- Gold: features of the farmer, of the place and of the risk segment. Each view is one grouped query over one table,
-- so that only the touched groups are computed again, and feature_timestamp comes from the data: the same rows always
-- give the same features.

-- perfil_frequencia: 1 request is NOVO, up to 3 OCASIONAL, more RECORRENTE.
-- perfil_volatilidade: amounts that spread by more than half of their mean are VOLATIL; one amount tells nothing.
CREATE MATERIALIZED VIEW gold.proponente_features_agro
COMMENT 'What is known of a farmer from all requests'
AS SELECT
  proponente_id,
  count(*) AS total_solicitacoes,
  avg(valor_solicitado_credito) AS valor_medio_solicitado,
  avg(serasa_score) AS serasa_score_medio,
  max(data_solicitacao) AS ultima_solicitacao,
  datediff(max(data_solicitacao), min(data_solicitacao)) AS dias_entre_primeira_ultima,
  count_if(ibama_autuacoes_ativas) / count(*) AS taxa_autuacoes_ibama,
  CASE
    WHEN count(*) = 1 THEN 'NOVO'
    WHEN count(*) <= 3 THEN 'OCASIONAL'
    ELSE 'RECORRENTE'
  END AS perfil_frequencia,
  CASE
    WHEN count(*) = 1 THEN 'INDEFINIDO'
    WHEN stddev(valor_solicitado_credito) / nullif(avg(valor_solicitado_credito), 0) > 0.5 THEN 'VOLATIL'
    ELSE 'CONSISTENTE'
  END AS perfil_volatilidade,
  max(data_solicitacao) AS feature_timestamp
FROM silver.silver_dados_produtores_agro
GROUP BY proponente_id;

-- cultura_dominante: of equally frequent crops the first by name, whatever the order of the rows.
-- densidade_proponentes: fewer than 25 farmers is BAIXA, fewer than 100 MEDIA.
CREATE MATERIALIZED VIEW gold.location_features_agro
COMMENT 'What is known of a municipality from its farmers'' requests'
AS SELECT
  localizacao_uf,
  localizacao_municipio,
  count(DISTINCT proponente_id) AS total_proponentes,
  avg(valor_solicitado_credito) AS valor_medio_solicitado,
  avg(area_total_hectares) AS area_media_hectares,
  mode(cultura_principal, true) AS cultura_dominante,
  count_if(faixa_risco_credito IN ('ALTO', 'MUITO_ALTO')) / count(*) AS taxa_risco_elevado,
  CASE
    WHEN count(DISTINCT proponente_id) < 25 THEN 'BAIXA'
    WHEN count(DISTINCT proponente_id) < 100 THEN 'MEDIA'
    ELSE 'ALTA'
  END AS densidade_proponentes,
  max(data_solicitacao) AS feature_timestamp
FROM silver.silver_dados_produtores_agro
GROUP BY localizacao_uf, localizacao_municipio;

-- score_risco_ajustado: the mean score less up to half of it, by the share of requests with open environmental fines;
-- NULL where nobody in the segment has a score.
-- volatilidade_credito: amounts that spread by more than their mean are VOLATIL.
CREATE MATERIALIZED VIEW gold.risk_features_agro
COMMENT 'What is known of a risk band within a crop'
AS SELECT
  faixa_risco_credito,
  cultura_principal,
  count(*) AS total_solicitacoes,
  median(valor_solicitado_credito) AS valor_mediano,
  avg(serasa_score) AS serasa_score_medio,
  count_if(tipo_pessoa = 'JURIDICA') / count(*) AS taxa_pessoa_juridica,
  avg(serasa_score) * (1 - count_if(ibama_autuacoes_ativas) / count(*) / 2) AS score_risco_ajustado,
  CASE
    WHEN stddev(valor_solicitado_credito) / nullif(avg(valor_solicitado_credito), 0) > 1 THEN 'VOLATIL'
    ELSE 'HOMOGENEO'
  END AS volatilidade_credito,
  max(data_solicitacao) AS feature_timestamp
FROM silver.silver_dados_produtores_agro
GROUP BY faixa_risco_credito, cultura_principal;

-- What the newest request says of the farmer. A request without a value keeps none here.
CREATE MATERIALIZED VIEW gold.proponente_perfil_agro
COMMENT 'What a farmer''s newest request says'
AS SELECT
  proponente_id,
  max_by(localizacao_uf, data_solicitacao) AS localizacao_uf,
  max_by(localizacao_municipio, data_solicitacao) AS localizacao_municipio,
  max_by(cultura_principal, data_solicitacao) AS cultura_principal,
  max_by(area_total_hectares, data_solicitacao) AS area_total_hectares,
  max_by(anos_experiencia, data_solicitacao) AS anos_experiencia,
  max_by(serasa_score, data_solicitacao) AS serasa_score,
  max_by(ibama_autuacoes_ativas, data_solicitacao) AS ibama_autuacoes_ativas,
  max(data_solicitacao) AS feature_timestamp
FROM silver.silver_dados_produtores_agro
GROUP BY proponente_id;

-- For a farmer nobody knows yet: what is known of the state.
CREATE MATERIALIZED VIEW gold.uf_features_agro
COMMENT 'What is known of a state from its farmers'' requests'
AS SELECT
  localizacao_uf,
  count(*) AS total_solicitacoes,
  avg(valor_solicitado_credito) AS valor_medio_solicitado,
  avg(area_total_hectares) AS area_media_hectares,
  avg(serasa_score) AS serasa_score_medio,
  count_if(faixa_risco_credito IN ('ALTO', 'MUITO_ALTO')) / count(*) AS taxa_risco_elevado,
  count_if(ibama_autuacoes_ativas) / count(*) AS taxa_autuacoes_ibama,
  count_if(tipo_pessoa = 'JURIDICA') / count(*) AS taxa_pessoa_juridica,
  max(data_solicitacao) AS feature_timestamp
FROM silver.silver_dados_produtores_agro
GROUP BY localizacao_uf;
