SELECT d, unit, cat, n, m, source
FROM (
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM project UNION ALL SELECT DISTINCT toString(reporting_unit) AS unit FROM post UNION ALL SELECT DISTINCT toString(reporting_unit) AS unit FROM employment))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, uniqExact(key) AS v, count() AS source
      FROM (
        SELECT d, unit, '' AS cat, [toString(county_code)] AS key
        FROM (
          SELECT *
          FROM (
            SELECT d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS county_code, tupleElement(t, 3) AS end_on, tupleElement(t, 4) AS provider_uscc, tupleElement(t, 5) AS start_on
            FROM (SELECT argMax((toString(reporting_unit), county_code, end_on, provider_uscc, start_on), (substring(purchaser_uscc, 3, 2) = substring(reporting_unit, 1, 2), -toInt32(reporting_unit), _version)) AS t FROM project FINAL GROUP BY purchaser_uscc, project_id)
            ARRAY JOIN {dates:Array(Date32)} AS d
          )
          WHERE ifNull(start_on <= d, true) AND ifNull(end_on >= d, true) AND (d, provider_uscc) IN (SELECT d, uscc FROM (
            SELECT *
            FROM (
              SELECT d, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 1) AS unit, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 2) AS org_type, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 3) AS status, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 4) AS uscc
              FROM (SELECT arrayReverseSort(x -> tupleElement(x, 2), groupArray((effective_from, (effective_from, -toInt32(reporting_unit), _version), (toString(reporting_unit), org_type, status, uscc)))) AS xs FROM org FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) GROUP BY uscc)
              ARRAY JOIN {dates:Array(Date32)} AS d
              WHERE arrayExists(x -> tupleElement(x, 1) <= d, xs)
            )
            WHERE has({where_status:Array(String)}, ifNull(toString(status), '')) AND has({where_org_type:Array(String)}, ifNull(toString(org_type), ''))
          ))
        )
        UNION ALL
        SELECT d, unit, '' AS cat, [toString(county_code)] AS key
        FROM (
          SELECT *
          FROM (
            SELECT d, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 1) AS unit, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 2) AS county_code, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 3) AS end_on, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 4) AS provider_uscc, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 5) AS start_on
            FROM (SELECT arrayReverseSort(x -> tupleElement(x, 2), groupArray((effective_from, (substring(purchaser_uscc, 3, 2) = substring(reporting_unit, 1, 2), effective_from, -toInt32(reporting_unit), _version), (toString(reporting_unit), county_code, end_on, provider_uscc, start_on)))) AS xs FROM post FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) GROUP BY purchaser_uscc, post_id, budget_year)
            ARRAY JOIN {dates:Array(Date32)} AS d
            WHERE arrayExists(x -> tupleElement(x, 1) <= d, xs)
          )
          WHERE ifNull(start_on <= d, true) AND ifNull(end_on >= d, true) AND (d, provider_uscc) IN (SELECT d, uscc FROM (
            SELECT *
            FROM (
              SELECT d, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 1) AS unit, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 2) AS org_type, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 3) AS status, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 4) AS uscc
              FROM (SELECT arrayReverseSort(x -> tupleElement(x, 2), groupArray((effective_from, (effective_from, -toInt32(reporting_unit), _version), (toString(reporting_unit), org_type, status, uscc)))) AS xs FROM org FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) GROUP BY uscc)
              ARRAY JOIN {dates:Array(Date32)} AS d
              WHERE arrayExists(x -> tupleElement(x, 1) <= d, xs)
            )
            WHERE has({where_status:Array(String)}, ifNull(toString(status), '')) AND has({where_org_type:Array(String)}, ifNull(toString(org_type), ''))
          ))
        )
        UNION ALL
        SELECT d, unit, '' AS cat, [toString(county_code)] AS key
        FROM (
          SELECT *
          FROM (
            SELECT d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS county_code, tupleElement(t, 3) AS employer_uscc, tupleElement(t, 4) AS end_on, tupleElement(t, 5) AS start_on, tupleElement(t, 6) AS worker_category
            FROM (SELECT argMax((toString(reporting_unit), county_code, employer_uscc, end_on, start_on, worker_category), (-toInt32(reporting_unit), _version)) AS t FROM employment FINAL GROUP BY id_number_token, employer_uscc, start_on)
            ARRAY JOIN {dates:Array(Date32)} AS d
          )
          WHERE has({where_worker_category:Array(String)}, ifNull(toString(worker_category), '')) AND ifNull(start_on <= d, true) AND ifNull(end_on > d, true) AND (d, employer_uscc) IN (SELECT d, uscc FROM (
            SELECT *
            FROM (
              SELECT d, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 1) AS unit, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 2) AS org_type, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 3) AS status, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 4) AS uscc
              FROM (SELECT arrayReverseSort(x -> tupleElement(x, 2), groupArray((effective_from, (effective_from, -toInt32(reporting_unit), _version), (toString(reporting_unit), org_type, status, uscc)))) AS xs FROM org FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) GROUP BY uscc)
              ARRAY JOIN {dates:Array(Date32)} AS d
              WHERE arrayExists(x -> tupleElement(x, 1) <= d, xs)
            )
            WHERE has({where_status:Array(String)}, ifNull(toString(status), '')) AND has({where_org_type:Array(String)}, ifNull(toString(org_type), ''))
          ))
        )
      )
      WHERE (d, unit, key[1]) IN (SELECT d, unit, area FROM (
        SELECT d, unit, area, x
        FROM (
          SELECT d, unit, area, x, month, max(month) OVER (PARTITION BY d, unit) AS latest
          FROM (
            SELECT if(reporting_unit = '000000', concat(substring(division_code, 1, 2), '0000'), toString(reporting_unit)) AS unit,
              toString(division_code) AS area, period AS month,
              argMax(registered_users, (reporting_unit != '000000', _version)) AS x
            FROM context FINAL
            WHERE registered_users IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}) AND NOT endsWith(division_code, '00')
            GROUP BY unit, area, month
          )
          ARRAY JOIN {dates:Array(Date32)} AS d
          WHERE month <= d
        )
        WHERE month = latest
      ))
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS t
  INNER JOIN (
    SELECT d, unit, '' AS cat, toFloat64(argMax(total, (month, level))) AS v, argMax(areas, (month, level)) AS source
    FROM (
      SELECT d, unit, month, multiIf(endsWith(area, '0000'), 3, endsWith(area, '00'), 2, 1) AS level, sum(x) AS total, count() AS areas
      FROM (
        SELECT if(reporting_unit = '000000', concat(substring(division_code, 1, 2), '0000'), toString(reporting_unit)) AS unit,
          toString(division_code) AS area, period AS month,
          argMax(county_total, (reporting_unit != '000000', _version)) AS x
        FROM context FINAL
        WHERE county_total IS NOT NULL AND period <= arrayMax({dates:Array(Date32)})
        GROUP BY unit, area, month
      )
      ARRAY JOIN {dates:Array(Date32)} AS d
      WHERE month <= d
      GROUP BY d, unit, month, level
    )
    GROUP BY d, unit
  ) AS b ON t.d = b.d AND t.unit = b.unit
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1
-- categories = ['01','02','03']
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
-- where_org_type = ['51','52','53']
-- where_status = ['active']
-- where_worker_category = ['01','02','03']
