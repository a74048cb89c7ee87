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
      SELECT d, unit, toString(org_type) AS cat, count() AS v, count() AS source
      FROM (
        SELECT *
        FROM (
          SELECT arrayJoin(arrayFilter((day, first) -> first = i, {dates:Array(Date32)}, firsts)) AS d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS org_type, tupleElement(t, 3) AS status, tupleElement(t, 4) AS uscc, tupleElement(t, 5) AS worker_total
          FROM (
            SELECT xs.2 AS begins, xs.3 AS ts, arrayMap(d -> arrayFirstIndex(b -> b <= d, begins), {dates:Array(Date32)}) AS firsts
            FROM (WITH bitOr(bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version))) AS _order SELECT arrayReverseSort(x -> x.1, groupArray((_order, effective_from, (toString(reporting_unit), org_type, status, uscc, worker_total)))) AS xs FROM (
            SELECT _version, effective_from, org_type, reporting_unit, status, uscc, worker_total FROM org FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
            UNION ALL
            SELECT _version, effective_from, org_type, reporting_unit, status, uscc, worker_total FROM org FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(uscc) IN (
            SELECT DISTINCT xxh3(uscc) AS h FROM org WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND true AND xxh3(uscc) NOT IN (SELECT xxh3(uscc) FROM org FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)}))
          )
          ) GROUP BY uscc)
          )
          ARRAY JOIN ts AS t, arrayEnumerate(ts) AS i
        )
        WHERE ifNull(toString(status), '') IN {where_status:Array(String)}
      )
      WHERE worker_total > 0 OR xxh3(d, uscc) IN (
        SELECT xxh3(d, provider_uscc) FROM (
          SELECT *
          FROM (
            SELECT d, toString(reporting_unit) AS unit, end_on, provider_uscc, start_on
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
          WHERE ifNull(start_on <= d, true) AND ifNull(end_on >= d, true)
        )
        UNION ALL
        SELECT xxh3(d, provider_uscc) FROM (
          SELECT *
          FROM (
            SELECT arrayJoin(arrayFilter((day, first) -> first = i, {dates:Array(Date32)}, firsts)) AS d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS end_on, tupleElement(t, 3) AS provider_uscc, tupleElement(t, 4) AS start_on
            FROM (
              SELECT xs.2 AS begins, xs.3 AS ts, arrayMap(d -> arrayFirstIndex(b -> b <= d, begins), {dates:Array(Date32)}) AS firsts
              FROM (WITH bitOr(bitShiftLeft(toUInt256(substring(purchaser_uscc, 3, 2) = substring(toString(reporting_unit), 1, 2)), 145), bitOr(bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version)))) AS _order SELECT arrayReverseSort(x -> x.1, groupArray((_order, effective_from, (toString(reporting_unit), end_on, provider_uscc, start_on)))) AS xs FROM (
              SELECT _version, budget_year, effective_from, end_on, post_id, provider_uscc, purchaser_uscc, reporting_unit, start_on FROM post FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
              UNION ALL
              SELECT _version, budget_year, effective_from, end_on, post_id, provider_uscc, purchaser_uscc, reporting_unit, start_on FROM post FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(purchaser_uscc, post_id, budget_year) IN (
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
  )
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- codes = ['51','52','53']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
-- where_status = ['active']
