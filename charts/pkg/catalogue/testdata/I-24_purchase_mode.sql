SELECT d, unit, cat, n, m, source
FROM (
  SELECT d, unit, code AS cat, n, m, source
  FROM (
    SELECT d, unit, cat AS code, toNullable(v) AS n, toNullable(sum(v) OVER (PARTITION BY d, unit)) AS m, toUInt64(sum(source) OVER (PARTITION BY d, unit)) AS source
    FROM (
      SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
      FROM (
        SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin({all_codes:Array(String)}) AS cat
        FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM project UNION ALL SELECT DISTINCT toString(reporting_unit) AS unit FROM post))
      ) AS g
      LEFT JOIN (
        SELECT d, unit, {mode_1:String} AS cat, sum(amount) AS v, count() AS source
        FROM (
          SELECT d, purchaser_uscc, project_id,
            tupleElement(argMax((toString(reporting_unit), amount_fen), (substring(purchaser_uscc, 3, 2) = substring(reporting_unit, 1, 2), _version)) AS newest, 1) AS unit, tupleElement(newest, 2) AS amount
          FROM (SELECT * FROM project FINAL)
          ARRAY JOIN {dates:Array(Date32)} AS d
          WHERE budget_year = toYear(d) AND start_on <= d
          GROUP BY d, purchaser_uscc, project_id
        )
        GROUP BY d, unit
        UNION ALL
        SELECT d, unit, {mode_2:String} AS cat, sum(amount) AS v, count() AS source
        FROM (
          SELECT d, purchaser_uscc, post_id, budget_year,
            tupleElement(argMax((toString(reporting_unit), unit_price_fen), (substring(purchaser_uscc, 3, 2) = substring(reporting_unit, 1, 2), effective_from, _version)) AS newest, 1) AS unit, tupleElement(newest, 2) AS amount
          FROM (SELECT * FROM post FINAL)
          ARRAY JOIN {dates:Array(Date32)} AS d
          WHERE effective_from <= d AND budget_year = toYear(d) AND start_on <= d
          GROUP BY d, purchaser_uscc, post_id, budget_year
        )
        GROUP BY d, unit
      ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
    )
  )
  WHERE code IN {codes:Array(String)}
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1
-- all_codes = ['1','2']
-- codes = ['1','2']
-- dates = ['2016-10-31','2016-11-11']
-- mode_1 = 1
-- mode_2 = 2
-- units = ['310000']
