SELECT d, unit, cat, n, m, source
FROM (
  SELECT d, unit, cat, toNullable(v) AS n, CAST(NULL, 'Nullable(Float64)') AS m, source
  FROM (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM project UNION ALL SELECT DISTINCT toString(reporting_unit) AS unit FROM post))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, '' AS cat, sum(v) AS v, sum(source) AS source
      FROM (
        SELECT d, unit, {mode:String} AS cat, sum(toFloat64(amount_fen)) AS v, count() AS source
        FROM (
          SELECT *
          FROM (
            SELECT d, toString(reporting_unit) AS unit, amount_fen, budget_year, start_on
            FROM (SELECT * FROM project FINAL WHERE xxh3(reporting_unit, record_id) NOT IN (
              SELECT arrayJoin(arrayPopFront(arrayMap(x -> x.2, arrayReverseSort(groupArray((bitOr(bitShiftLeft(toUInt256(substring(purchaser_uscc, 3, 2) = substring(toString(reporting_unit), 1, 2)), 145), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version))), xxh3(reporting_unit, record_id))))))) AS h
              FROM project FINAL
              WHERE (reporting_unit, record_id) IN (SELECT reporting_unit, record_id FROM project WHERE xxh3(purchaser_uscc, project_id) IN (
                SELECT arrayJoin(arrayFilter((h, before) -> h = before, hs, arrayPushFront(arrayPopBack(hs), 0))) AS h
                FROM (SELECT arraySort(groupArray(xxh3(purchaser_uscc, project_id))) AS hs FROM project GROUP BY xxh3(purchaser_uscc, project_id) % 16)
              ))
              GROUP BY purchaser_uscc, project_id
            ))
            ARRAY JOIN {dates:Array(Date32)} AS d
          )
          WHERE ifNull(start_on <= d, true) AND budget_year = toYear(d)
        )
        GROUP BY d, unit
        UNION ALL
        SELECT d, unit, {mode_2:String} AS cat, sum(toFloat64(unit_price_fen)) AS v, count() AS source
        FROM (
          SELECT *
          FROM (
            SELECT arrayJoin(arrayFilter((day, first) -> first = i, {dates:Array(Date32)}, firsts)) AS d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS budget_year, tupleElement(t, 3) AS start_on, tupleElement(t, 4) AS unit_price_fen
            FROM (
              SELECT xs.2 AS begins, xs.3 AS ts, arrayMap(d -> arrayFirstIndex(b -> b <= d, begins), {dates:Array(Date32)}) AS firsts
              FROM (WITH bitOr(bitShiftLeft(toUInt256(substring(purchaser_uscc, 3, 2) = substring(toString(reporting_unit), 1, 2)), 145), bitOr(bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version)))) AS _order SELECT arrayReverseSort(x -> x.1, groupArray((_order, effective_from, (toString(reporting_unit), budget_year, start_on, unit_price_fen)))) AS xs FROM (
              SELECT _version, budget_year, effective_from, post_id, purchaser_uscc, reporting_unit, start_on, unit_price_fen FROM post FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
              UNION ALL
              SELECT _version, budget_year, effective_from, post_id, purchaser_uscc, reporting_unit, start_on, unit_price_fen FROM post FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(purchaser_uscc, post_id, budget_year) IN (
              SELECT DISTINCT xxh3(purchaser_uscc, post_id, budget_year) AS h FROM post WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND (ifNull(start_on <= arrayMax({dates:Array(Date32)}), true) AND budget_year BETWEEN toYear(arrayMin({dates:Array(Date32)})) AND toYear(arrayMax({dates:Array(Date32)})) OR xxh3(purchaser_uscc, post_id, budget_year) IN (SELECT xxh3(purchaser_uscc, post_id, budget_year) FROM post FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMax({dates:Array(Date32)}))) AND xxh3(purchaser_uscc, post_id, budget_year) NOT IN (SELECT xxh3(purchaser_uscc, post_id, budget_year) FROM post FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)}) AND substring(purchaser_uscc, 3, 2) = substring(toString(reporting_unit), 1, 2))
            )
            ) GROUP BY xxh3(purchaser_uscc, post_id, budget_year), cityHash64(purchaser_uscc, post_id, budget_year))
            )
            ARRAY JOIN ts AS t, arrayEnumerate(ts) AS i
          )
          WHERE ifNull(start_on <= d, true) AND budget_year = toYear(d)
        )
        GROUP BY d, unit
      )
      GROUP BY d, unit
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  )
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- categories = ['01','02','03']
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- mode = 1
-- mode_2 = 2
-- units = ['310000']
