SELECT d, unit, cat, n, m, source
FROM (
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin({codes:Array(String)}) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM post))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, count() AS v, count() AS source
      FROM (
        SELECT d, unit, toString(fund_source) AS cat, '' AS key
        FROM (
          SELECT *
          FROM (
            SELECT arrayJoin(arrayFilter((day, first) -> first = i, {dates:Array(Date32)}, firsts)) AS d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS end_on, tupleElement(t, 3) AS filled, tupleElement(t, 4) AS fund_source, tupleElement(t, 5) AS start_on
            FROM (
              SELECT xs.2 AS begins, xs.3 AS ts, arrayMap(d -> arrayFirstIndex(b -> b <= d, begins), {dates:Array(Date32)}) AS firsts
              FROM (WITH bitOr(bitShiftLeft(toUInt256(substring(purchaser_uscc, 3, 2) = substring(toString(reporting_unit), 1, 2)), 145), bitOr(bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version)))) AS _order SELECT arrayReverseSort(x -> x.1, groupArray((_order, effective_from, (toString(reporting_unit), end_on, filled, fund_source, start_on)))) AS xs FROM (
              SELECT _version, budget_year, effective_from, end_on, filled, fund_source, post_id, purchaser_uscc, reporting_unit, start_on FROM post FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
              UNION ALL
              SELECT _version, budget_year, effective_from, end_on, filled, fund_source, post_id, purchaser_uscc, reporting_unit, start_on FROM post FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(purchaser_uscc, post_id, budget_year) IN (
              SELECT DISTINCT xxh3(purchaser_uscc, post_id, budget_year) AS h FROM post WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND (ifNull(start_on <= arrayMax({dates:Array(Date32)}), true) AND ifNull(end_on >= arrayMin({dates:Array(Date32)}), true) OR xxh3(purchaser_uscc, post_id, budget_year) IN (SELECT xxh3(purchaser_uscc, post_id, budget_year) FROM post FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMax({dates:Array(Date32)}))) AND xxh3(purchaser_uscc, post_id, budget_year) NOT IN (SELECT xxh3(purchaser_uscc, post_id, budget_year) FROM post FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)}) AND substring(purchaser_uscc, 3, 2) = substring(toString(reporting_unit), 1, 2))
            )
            ) GROUP BY xxh3(purchaser_uscc, post_id, budget_year), cityHash64(purchaser_uscc, post_id, budget_year))
            )
            ARRAY JOIN ts AS t, arrayEnumerate(ts) AS i
          )
          WHERE NOT ifNull(filled, true) AND ifNull(start_on <= d, true) AND ifNull(end_on >= d, true)
        )
      )
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS t
  INNER JOIN (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin({codes:Array(String)}) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM post))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, count() AS v, count() AS source
      FROM (
        SELECT d, unit, toString(fund_source) AS cat, '' AS key
        FROM (
          SELECT *
          FROM (
            SELECT arrayJoin(arrayFilter((day, first) -> first = i, {dates:Array(Date32)}, firsts)) AS d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS end_on, tupleElement(t, 3) AS fund_source, tupleElement(t, 4) AS start_on
            FROM (
              SELECT xs.2 AS begins, xs.3 AS ts, arrayMap(d -> arrayFirstIndex(b -> b <= d, begins), {dates:Array(Date32)}) AS firsts
              FROM (WITH bitOr(bitShiftLeft(toUInt256(substring(purchaser_uscc, 3, 2) = substring(toString(reporting_unit), 1, 2)), 145), bitOr(bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version)))) AS _order SELECT arrayReverseSort(x -> x.1, groupArray((_order, effective_from, (toString(reporting_unit), end_on, fund_source, start_on)))) AS xs FROM (
              SELECT _version, budget_year, effective_from, end_on, fund_source, post_id, purchaser_uscc, reporting_unit, start_on FROM post FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
              UNION ALL
              SELECT _version, budget_year, effective_from, end_on, fund_source, post_id, purchaser_uscc, reporting_unit, start_on FROM post FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(purchaser_uscc, post_id, budget_year) IN (
              SELECT DISTINCT xxh3(purchaser_uscc, post_id, budget_year) AS h FROM post WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND (ifNull(start_on <= arrayMax({dates:Array(Date32)}), true) AND ifNull(end_on >= arrayMin({dates:Array(Date32)}), true) OR xxh3(purchaser_uscc, post_id, budget_year) IN (SELECT xxh3(purchaser_uscc, post_id, budget_year) FROM post FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMax({dates:Array(Date32)}))) AND xxh3(purchaser_uscc, post_id, budget_year) NOT IN (SELECT xxh3(purchaser_uscc, post_id, budget_year) FROM post FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)}) AND substring(purchaser_uscc, 3, 2) = substring(toString(reporting_unit), 1, 2))
            )
            ) GROUP BY xxh3(purchaser_uscc, post_id, budget_year), cityHash64(purchaser_uscc, post_id, budget_year))
            )
            ARRAY JOIN ts AS t, arrayEnumerate(ts) AS i
          )
          WHERE ifNull(start_on <= d, true) AND ifNull(end_on >= d, true)
        )
      )
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS b ON t.d = b.d AND t.unit = b.unit AND t.cat = b.cat
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- codes = ['01','02','03','04','05','06','09']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
