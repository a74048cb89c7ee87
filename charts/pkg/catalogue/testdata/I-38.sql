SELECT d, unit, cat, n, m, source
FROM (
  SELECT d, unit, cat, toNullable(n) AS n, toNullable(m) AS m, source
  FROM (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.n, 0)) AS n, toFloat64(ifNull(c.m, 0)) AS m, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM org))
    ) AS g
    LEFT JOIN (
      SELECT t.d AS d, t.unit AS unit, '' AS cat, sum(abs(toInt64(worker_total) - toInt64(ifNull(c.heads, 0)))) AS n, sum(worker_total) AS m, count() AS source
      FROM (
        SELECT arrayJoin(arrayFilter((day, first) -> first = i, {dates:Array(Date32)}, firsts)) AS d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS uscc, tupleElement(t, 3) AS worker_total
        FROM (
          SELECT xs.2 AS begins, xs.3 AS ts, arrayMap(d -> arrayFirstIndex(b -> b <= d, begins), {dates:Array(Date32)}) AS firsts
          FROM (WITH bitOr(bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version))) AS _order SELECT arrayReverseSort(x -> x.1, groupArray((_order, effective_from, (toString(reporting_unit), uscc, worker_total)))) AS xs FROM (
          SELECT _version, effective_from, reporting_unit, uscc, worker_total FROM org FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
          UNION ALL
          SELECT _version, effective_from, reporting_unit, uscc, worker_total FROM org FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(uscc) IN (
          SELECT DISTINCT xxh3(uscc) AS h FROM org WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND true AND xxh3(uscc) NOT IN (SELECT xxh3(uscc) FROM org FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)}))
        )
        ) GROUP BY uscc)
        )
        ARRAY JOIN ts AS t, arrayEnumerate(ts) AS i
      ) AS t
      LEFT JOIN (
        SELECT d, employer_uscc, heads
        FROM (
          SELECT employer_uscc, sumForEach(open) AS hs
          FROM (SELECT employer_uscc, reinterpretAsUInt128(substring(id_number_token, 17)) AS person, maxForEach(arrayMap(d -> start_on <= d AND ifNull(end_on > d, true), {dates:Array(Date32)})) AS open FROM employment FINAL WHERE worker_category IN {categories:Array(String)} GROUP BY employer_uscc, person)
          GROUP BY employer_uscc
        )
        ARRAY JOIN {dates:Array(Date32)} AS d, hs AS heads
      ) AS c ON t.d = c.d AND t.uscc = c.employer_uscc
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
-- units = ['310000']
