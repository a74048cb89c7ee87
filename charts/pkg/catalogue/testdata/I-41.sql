SELECT d, unit, cat, n, m, source
FROM (
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM demo_site))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, count() AS v, count() AS source
      FROM (
        SELECT d, unit, '' AS cat, '' AS key
        FROM (
          SELECT *
          FROM (
            SELECT arrayJoin(arrayFilter((day, first) -> first = i, {dates:Array(Date32)}, firsts)) AS d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS reviewed_on, tupleElement(t, 3) AS status
            FROM (
              SELECT xs.2 AS begins, xs.3 AS ts, arrayMap(d -> arrayFirstIndex(b -> b <= d, begins), {dates:Array(Date32)}) AS firsts
              FROM (WITH bitOr(bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version))) AS _order SELECT arrayReverseSort(x -> x.1, groupArray((_order, effective_from, (toString(reporting_unit), reviewed_on, status)))) AS xs FROM (
              SELECT _version, effective_from, reporting_unit, reviewed_on, site_id, status FROM demo_site FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
              UNION ALL
              SELECT _version, effective_from, reporting_unit, reviewed_on, site_id, status FROM demo_site FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(reporting_unit, site_id) IN (
              SELECT DISTINCT xxh3(reporting_unit, site_id) AS h FROM demo_site WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND ifNull(reviewed_on <= arrayMax({dates:Array(Date32)}) AND reviewed_on >= addDays(addMonths(arrayMin({dates:Array(Date32)}), -36), 1), false) AND xxh3(reporting_unit, site_id) NOT IN (SELECT xxh3(reporting_unit, site_id) FROM demo_site FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)}))
            )
            ) GROUP BY xxh3(reporting_unit, site_id), cityHash64(reporting_unit, site_id))
            )
            ARRAY JOIN ts AS t, arrayEnumerate(ts) AS i
          )
          WHERE ifNull(toString(status), '') IN {where_status:Array(String)} AND ifNull(reviewed_on <= d AND reviewed_on >= addDays(addMonths(d, -36), 1), false)
        )
      )
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS t
  INNER JOIN (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM demo_site))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, count() AS v, count() AS source
      FROM (
        SELECT d, unit, '' AS cat, '' AS key
        FROM (
          SELECT *
          FROM (
            SELECT arrayJoin(arrayFilter((day, first) -> first = i, {dates:Array(Date32)}, firsts)) AS d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS status
            FROM (
              SELECT xs.2 AS begins, xs.3 AS ts, arrayMap(d -> arrayFirstIndex(b -> b <= d, begins), {dates:Array(Date32)}) AS firsts
              FROM (WITH bitOr(bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version))) AS _order SELECT arrayReverseSort(x -> x.1, groupArray((_order, effective_from, (toString(reporting_unit), status)))) AS xs FROM (
              SELECT _version, effective_from, reporting_unit, site_id, status FROM demo_site FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
              UNION ALL
              SELECT _version, effective_from, reporting_unit, site_id, status FROM demo_site FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(reporting_unit, site_id) IN (
              SELECT DISTINCT xxh3(reporting_unit, site_id) AS h FROM demo_site WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND true AND xxh3(reporting_unit, site_id) NOT IN (SELECT xxh3(reporting_unit, site_id) FROM demo_site FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)}))
            )
            ) GROUP BY xxh3(reporting_unit, site_id), cityHash64(reporting_unit, site_id))
            )
            ARRAY JOIN ts AS t, arrayEnumerate(ts) AS i
          )
          WHERE ifNull(toString(status), '') IN {where_status:Array(String)}
        )
      )
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS b ON t.d = b.d AND t.unit = b.unit
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
-- where_status = ['2','3']
