SELECT d, unit, cat, n, m, source
FROM (
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin({codes:Array(String)}) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM employment))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, count() AS v, count() AS source
      FROM (
        SELECT d, unit, toString(employment_form) AS cat, '' AS key
        FROM (
          SELECT *
          FROM (
            SELECT d, x0 AS unit, x1 AS employment_form, x2 AS end_on, x3 AS social_insurance, x4 AS start_on, x5 AS worker_category
            FROM (WITH bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version)) AS _order SELECT argMax(toString(reporting_unit), _order) AS x0, argMax(employment_form, _order) AS x1, if(argMax(isNull(end_on), _order), NULL, argMax(assumeNotNull(end_on), _order)) AS x2, if(argMax(isNull(social_insurance), _order), NULL, argMax(assumeNotNull(social_insurance), _order)) AS x3, argMax(start_on, _order) AS x4, argMax(worker_category, _order) AS x5 FROM employment FINAL GROUP BY xxh3(id_number_token, employer_uscc, start_on), cityHash64(id_number_token, employer_uscc, start_on))
            ARRAY JOIN {dates:Array(Date32)} AS d
          )
          WHERE has({where_worker_category:Array(String)}, ifNull(toString(worker_category), '')) AND has({where_social_insurance:Array(String)}, ifNull(toString(social_insurance), '')) AND ifNull(start_on <= d, true) AND ifNull(end_on > d, true)
        )
      )
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS t
  INNER JOIN (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin({codes:Array(String)}) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM employment))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, count() AS v, count() AS source
      FROM (
        SELECT d, unit, toString(employment_form) AS cat, '' AS key
        FROM (
          SELECT *
          FROM (
            SELECT d, x0 AS unit, x1 AS employment_form, x2 AS end_on, x3 AS social_insurance, x4 AS start_on, x5 AS worker_category
            FROM (WITH bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version)) AS _order SELECT argMax(toString(reporting_unit), _order) AS x0, argMax(employment_form, _order) AS x1, if(argMax(isNull(end_on), _order), NULL, argMax(assumeNotNull(end_on), _order)) AS x2, if(argMax(isNull(social_insurance), _order), NULL, argMax(assumeNotNull(social_insurance), _order)) AS x3, argMax(start_on, _order) AS x4, argMax(worker_category, _order) AS x5 FROM employment FINAL GROUP BY xxh3(id_number_token, employer_uscc, start_on), cityHash64(id_number_token, employer_uscc, start_on))
            ARRAY JOIN {dates:Array(Date32)} AS d
          )
          WHERE has({where_worker_category:Array(String)}, ifNull(toString(worker_category), '')) AND ifNull(toString(social_insurance), '') != '' AND ifNull(start_on <= d, true) AND ifNull(end_on > d, true)
        )
      )
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS b ON t.d = b.d AND t.unit = b.unit AND t.cat = b.cat
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1
-- categories = ['01','02','03']
-- codes = ['01','02','03','04','05','09']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
-- where_social_insurance = ['true']
-- where_worker_category = ['01','02','03']
