SELECT d, unit, cat, n, m, source
FROM (
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM org))
    ) AS g
    LEFT JOIN (
      SELECT t.d AS d, t.unit AS unit, '' AS cat, toFloat64(sum(abs(toInt64(worker_total) - toInt64(ifNull(c.heads, 0))))) AS v, count() AS source
      FROM (
        SELECT d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS uscc, tupleElement(t, 3) AS worker_total
        FROM (SELECT d, tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3) AS t
        FROM (WITH bitOr(bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version))) AS _order SELECT arrayReverseSort(x -> tupleElement(x, 2), groupArray((effective_from, _order, (toString(reporting_unit), uscc, worker_total)))) AS xs FROM (
          SELECT _version, effective_from, reporting_unit, uscc, worker_total FROM org FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
          UNION ALL
          SELECT _version, effective_from, reporting_unit, uscc, worker_total FROM org FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(uscc) IN (
          SELECT DISTINCT xxh3(uscc) AS h FROM org WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND true AND xxh3(uscc) NOT IN (SELECT xxh3(uscc) FROM org FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)}))
        )
        ) GROUP BY uscc)
        ARRAY JOIN {dates:Array(Date32)} AS d
        WHERE arrayExists(x -> tupleElement(x, 1) <= d, xs))
      ) AS t
      LEFT JOIN (
        SELECT d, employer_uscc, uniqExact(reinterpretAsUInt128(substring(id_number_token, 17))) AS heads
        FROM (SELECT employer_uscc, id_number_token, start_on, end_on FROM employment FINAL WHERE worker_category IN {categories:Array(String)})
        ARRAY JOIN {dates:Array(Date32)} AS d
        WHERE start_on <= d AND ifNull(end_on > d, true)
        GROUP BY d, employer_uscc
      ) AS c ON t.d = c.d AND t.uscc = c.employer_uscc
      GROUP BY d, unit
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS t
  INNER JOIN (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM org))
    ) AS g
    LEFT JOIN (
      SELECT t.d AS d, t.unit AS unit, '' AS cat, toFloat64(sum(worker_total)) AS v, count() AS source
      FROM (
        SELECT d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS uscc, tupleElement(t, 3) AS worker_total
        FROM (SELECT d, tupleElement(arrayFirst(x -> tupleElement(x, 1) <= d, xs), 3) AS t
        FROM (WITH bitOr(bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version))) AS _order SELECT arrayReverseSort(x -> tupleElement(x, 2), groupArray((effective_from, _order, (toString(reporting_unit), uscc, worker_total)))) AS xs FROM (
          SELECT _version, effective_from, reporting_unit, uscc, worker_total FROM org FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
          UNION ALL
          SELECT _version, effective_from, reporting_unit, uscc, worker_total FROM org FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(uscc) IN (
          SELECT DISTINCT xxh3(uscc) AS h FROM org WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND true AND xxh3(uscc) NOT IN (SELECT xxh3(uscc) FROM org FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)}))
        )
        ) GROUP BY uscc)
        ARRAY JOIN {dates:Array(Date32)} AS d
        WHERE arrayExists(x -> tupleElement(x, 1) <= d, xs))
      ) AS t
      LEFT JOIN (
        SELECT d, employer_uscc, uniqExact(reinterpretAsUInt128(substring(id_number_token, 17))) AS heads
        FROM (SELECT employer_uscc, id_number_token, start_on, end_on FROM employment FINAL WHERE worker_category IN {categories:Array(String)})
        ARRAY JOIN {dates:Array(Date32)} AS d
        WHERE start_on <= d AND ifNull(end_on > d, true)
        GROUP BY d, employer_uscc
      ) AS c ON t.d = c.d AND t.uscc = c.employer_uscc
      GROUP BY d, unit
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
  ) AS b ON t.d = b.d AND t.unit = b.unit
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1
-- categories = ['01','02','03']
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
