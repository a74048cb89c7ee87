SELECT d, unit, cat, n, m, source
FROM (
  SELECT d, unit, cat, toNullable(v) AS n, CAST(NULL, 'Nullable(Float64)') AS m, source
  FROM (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin({codes:Array(String)}) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM org))
    ) AS g
    LEFT JOIN (
      SELECT d, toString(tupleElement(o, 1)) AS unit, arrayElement({bands:Array(String)}, greatest(1, arrayLastIndex(f -> f <= toFloat64(ifNull(tupleElement(o, 4), 0)), {band_from:Array(Float64)}))) AS cat, count() AS v, sum(records) AS source
      FROM (
        SELECT d, uscc, argMin((reporting_unit, org_type, status, worker_total), (-toInt32(effective_from), reporting_unit, record_id)) AS o, count() AS records
        FROM (SELECT uscc, reporting_unit, record_id, org_type, status, worker_total, effective_from FROM org FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}))
        ARRAY JOIN {dates:Array(Date32)} AS d
        WHERE effective_from <= d
        GROUP BY d, uscc
      )
      WHERE tupleElement(o, 2) IN {org_types:Array(String)} AND tupleElement(o, 3) = {org_status:String}
        AND (tupleElement(o, 4) > 0 OR (d, uscc) IN (
          SELECT d, provider_uscc FROM (
            SELECT *
            FROM (
              SELECT d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS end_on, tupleElement(t, 3) AS provider_uscc, tupleElement(t, 4) AS start_on
              FROM (SELECT argMax((toString(reporting_unit), end_on, provider_uscc, start_on), (substring(purchaser_uscc, 3, 2) = substring(reporting_unit, 1, 2), -toInt32(reporting_unit), _version)) AS t FROM project FINAL GROUP BY purchaser_uscc, project_id)
              ARRAY JOIN {dates:Array(Date32)} AS d
            )
            WHERE ifNull(start_on <= d, true) AND ifNull(end_on >= d, true)
          )
          UNION ALL
          SELECT d, provider_uscc FROM (
            SELECT *
            FROM (
              SELECT d, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 1) AS unit, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 2) AS end_on, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 3) AS provider_uscc, tupleElement(tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3), 4) AS start_on
              FROM (SELECT arrayReverseSort(x -> tupleElement(x, 2), groupArray((effective_from, (substring(purchaser_uscc, 3, 2) = substring(reporting_unit, 1, 2), effective_from, -toInt32(reporting_unit), _version), (toString(reporting_unit), end_on, provider_uscc, start_on)))) AS xs FROM post FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) GROUP BY purchaser_uscc, post_id, budget_year)
              ARRAY JOIN {dates:Array(Date32)} AS d
              WHERE arrayExists(x -> tupleElement(x, 1) <= d, xs)
            )
            WHERE ifNull(start_on <= d, true) AND ifNull(end_on >= d, true)
          )
        ))
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  )
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1
-- band_from = [0,5,10,30,100]
-- bands = ['under5','5','10','30','100']
-- codes = ['under5','5','10','30','100']
-- dates = ['2016-10-31','2016-11-11']
-- org_status = active
-- org_types = ['51','52','53']
-- units = ['310000']
