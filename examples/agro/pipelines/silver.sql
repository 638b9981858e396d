-- Silver: one row per credit request, flat, typed and classified; one row per outcome.

-- A moment outside 2000 – 2100 becomes NULL here and is refused below: one absurd number must not stop the flow.
CREATE TEMPORARY VIEW solicitacoes_recebidas AS
SELECT
  proponente_id,
  CASE WHEN data_solicitacao BETWEEN 946684800000 AND 4102444800000 THEN timestamp_millis(data_solicitacao) END
    AS data_solicitacao,
  cpf_cnpj,
  tipo_pessoa,
  valor_solicitado_credito,
  finalidade_credito,
  localizacao_propriedade.latitude AS localizacao_latitude,
  localizacao_propriedade.longitude AS localizacao_longitude,
  localizacao_propriedade.municipio AS localizacao_municipio,
  localizacao_propriedade.uf AS localizacao_uf,
  area_total_hectares,
  cultura_principal,
  anos_experiencia,
  fontes_dados_adicionais.serasa_score AS serasa_score,
  fontes_dados_adicionais.ibama_autuacoes_ativas AS ibama_autuacoes_ativas,
  metadata_evento.timestamp_geracao_evento AS timestamp_geracao_evento
FROM STREAM bronze.dados_produtores_agro;

-- Size classes in fiscal modules (1, 4 and 15) of 20 hectares. No score is no proof of low risk: ALTO.
-- A record is valid when the bureau knows the farmer and the document has the length of the kind of person.
CREATE TEMPORARY VIEW solicitacoes_classificadas AS
SELECT
  proponente_id,
  data_solicitacao,
  cpf_cnpj,
  tipo_pessoa,
  valor_solicitado_credito,
  finalidade_credito,
  localizacao_latitude,
  localizacao_longitude,
  localizacao_municipio,
  localizacao_uf,
  area_total_hectares,
  cultura_principal,
  anos_experiencia,
  serasa_score,
  ibama_autuacoes_ativas,
  CASE
    WHEN area_total_hectares < 20 THEN 'MINIFUNDIO'
    WHEN area_total_hectares < 80 THEN 'PEQUENA'
    WHEN area_total_hectares < 300 THEN 'MEDIA'
    ELSE 'GRANDE'
  END AS classificacao_propriedade,
  CASE
    WHEN serasa_score >= 700 THEN 'BAIXO'
    WHEN serasa_score >= 500 THEN 'MEDIO'
    WHEN serasa_score >= 300 OR serasa_score IS NULL THEN 'ALTO'
    ELSE 'MUITO_ALTO'
  END AS faixa_risco_credito,
  serasa_score IS NOT NULL AND length(cpf_cnpj) = CASE WHEN tipo_pessoa = 'FISICA' THEN 11 ELSE 14 END
    AS registro_valido,
  current_timestamp() AS processed_at,
  timestamp_geracao_evento
FROM solicitacoes_recebidas;

CREATE STREAMING TABLE silver.silver_dados_produtores_agro (
  CONSTRAINT proponente_informado EXPECT (proponente_id <> '') ON VIOLATION DROP ROW,
  CONSTRAINT data_plausivel EXPECT (data_solicitacao IS NOT NULL) ON VIOLATION DROP ROW,
  CONSTRAINT valor_plausivel EXPECT (valor_solicitado_credito > 0 AND valor_solicitado_credito < 1000000000)
    ON VIOLATION DROP ROW,
  CONSTRAINT score_possivel EXPECT (serasa_score IS NULL OR serasa_score BETWEEN 0 AND 1000) ON VIOLATION DROP ROW,
  CONSTRAINT area_plausivel EXPECT (area_total_hectares > 0 AND area_total_hectares < 1000000) ON VIOLATION DROP ROW,
  CONSTRAINT local_no_brasil EXPECT (
    localizacao_latitude BETWEEN -34 AND 6 AND localizacao_longitude BETWEEN -74 AND -28
  ) ON VIOLATION DROP ROW,
  CONSTRAINT registro_completo EXPECT (registro_valido)
)
COMMENT 'Credit requests of farmers, the newest event of each request';

-- The producer's event time decides, not the time of arrival: files taken in another order, late or twice give the
-- same table, and a correction wins over what it corrects even where it arrives first.
CREATE FLOW solicitacoes_atualizadas AS AUTO CDC INTO silver.silver_dados_produtores_agro
FROM STREAM solicitacoes_classificadas
KEYS (proponente_id, data_solicitacao)
SEQUENCE BY timestamp_geracao_evento
COLUMNS * EXCEPT (timestamp_geracao_evento);

CREATE TEMPORARY VIEW desfechos_recebidos AS
SELECT
  proponente_id,
  CASE WHEN data_solicitacao BETWEEN 946684800000 AND 4102444800000 THEN timestamp_millis(data_solicitacao) END
    AS data_solicitacao,
  inadimplente,
  CASE WHEN data_desfecho BETWEEN 946684800000 AND 4102444800000 THEN timestamp_millis(data_desfecho) END
    AS data_desfecho,
  current_timestamp() AS processed_at
FROM STREAM bronze.desfechos_credito;

CREATE STREAMING TABLE silver.desfechos_credito (
  CONSTRAINT proponente_informado EXPECT (proponente_id <> '') ON VIOLATION DROP ROW,
  CONSTRAINT desfecho_depois_da_solicitacao EXPECT (data_desfecho > data_solicitacao) ON VIOLATION DROP ROW
)
COMMENT 'How each credit ended: the label of the model';

CREATE FLOW desfechos_atualizados AS AUTO CDC INTO silver.desfechos_credito
FROM STREAM desfechos_recebidos
KEYS (proponente_id, data_solicitacao)
SEQUENCE BY data_desfecho;
