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
      SELECT d, toString(tupleElement(o, 1)) AS unit, toString(tupleElement(o, 2)) AS cat, count() AS v, sum(records) AS source
      FROM (
        SELECT d, uscc, argMin((reporting_unit, org_type, status, worker_total), (-toInt32(effective_from), reporting_unit, record_id)) AS o, count() AS records
        FROM (SELECT uscc, reporting_unit, record_id, org_type, status, worker_total, effective_from FROM org FINAL)
        ARRAY JOIN {dates:Array(Date32)} AS d
        WHERE effective_from <= d
        GROUP BY d, uscc
      )
      WHERE tupleElement(o, 2) IN {org_types:Array(String)} AND tupleElement(o, 3) = {org_status:String}
        AND (tupleElement(o, 4) > 0 OR (d, uscc) IN (
          SELECT d, provider_uscc
          FROM (SELECT provider_uscc, start_on, end_on FROM project FINAL)
          ARRAY JOIN {dates:Array(Date32)} AS d
          WHERE start_on <= d AND end_on >= d
          UNION ALL
          SELECT d, tupleElement(p, 1)
          FROM (
            SELECT d, argMax((provider_uscc, start_on, end_on), (effective_from, _version)) AS p
            FROM (SELECT purchaser_uscc, post_id, budget_year, provider_uscc, start_on, end_on, effective_from, _version FROM post FINAL)
            ARRAY JOIN {dates:Array(Date32)} AS d
            WHERE effective_from <= d
            GROUP BY d, purchaser_uscc, post_id, budget_year
          )
          WHERE tupleElement(p, 2) <= d AND ifNull(tupleElement(p, 3) >= d, true)
        ))
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  )
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1
-- codes = ['51','52','53']
-- dates = ['2016-10-31','2016-11-11']
-- org_status = active
-- org_types = ['51','52','53']
-- units = ['310000']
