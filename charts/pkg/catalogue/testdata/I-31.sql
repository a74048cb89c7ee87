SELECT d, unit, cat, n, m, source
FROM (
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT d, unit, '' AS cat, toFloat64(countIf((d, area) IN (
      SELECT d, toString(division_code) AS area FROM (
        SELECT *
        FROM (
          SELECT arrayJoin(arrayFilter((day, first) -> first = i, {dates:Array(Date32)}, firsts)) AS d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS adjust_rule, tupleElement(t, 3) AS division_code
          FROM (
            SELECT xs.2 AS begins, xs.3 AS ts, arrayMap(d -> arrayFirstIndex(b -> b <= d, begins), {dates:Array(Date32)}) AS firsts
            FROM (WITH bitOr(bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version))) AS _order SELECT arrayReverseSort(x -> x.1, groupArray((_order, effective_from, (toString(reporting_unit), adjust_rule, division_code)))) AS xs FROM (
            SELECT _version, adjust_rule, cert_level, division_code, effective_from, reporting_unit FROM pay_standard FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
            UNION ALL
            SELECT _version, adjust_rule, cert_level, division_code, effective_from, reporting_unit FROM pay_standard FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(division_code, cert_level) IN (
            SELECT DISTINCT xxh3(division_code, cert_level) AS h FROM pay_standard WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND true AND xxh3(division_code, cert_level) NOT IN (SELECT xxh3(division_code, cert_level) FROM pay_standard FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)}))
          )
          ) GROUP BY xxh3(division_code, cert_level), cityHash64(division_code, cert_level))
          )
          ARRAY JOIN ts AS t, arrayEnumerate(ts) AS i
        )
        WHERE ifNull(adjust_rule, false)
      )
    ) OR (d, concat(substring(area, 1, 4), '00')) IN (
      SELECT d, toString(division_code) AS area FROM (
        SELECT *
        FROM (
          SELECT arrayJoin(arrayFilter((day, first) -> first = i, {dates:Array(Date32)}, firsts)) AS d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS adjust_rule, tupleElement(t, 3) AS division_code
          FROM (
            SELECT xs.2 AS begins, xs.3 AS ts, arrayMap(d -> arrayFirstIndex(b -> b <= d, begins), {dates:Array(Date32)}) AS firsts
            FROM (WITH bitOr(bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version))) AS _order SELECT arrayReverseSort(x -> x.1, groupArray((_order, effective_from, (toString(reporting_unit), adjust_rule, division_code)))) AS xs FROM (
            SELECT _version, adjust_rule, cert_level, division_code, effective_from, reporting_unit FROM pay_standard FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
            UNION ALL
            SELECT _version, adjust_rule, cert_level, division_code, effective_from, reporting_unit FROM pay_standard FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(division_code, cert_level) IN (
            SELECT DISTINCT xxh3(division_code, cert_level) AS h FROM pay_standard WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND true AND xxh3(division_code, cert_level) NOT IN (SELECT xxh3(division_code, cert_level) FROM pay_standard FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)}))
          )
          ) GROUP BY xxh3(division_code, cert_level), cityHash64(division_code, cert_level))
          )
          ARRAY JOIN ts AS t, arrayEnumerate(ts) AS i
        )
        WHERE ifNull(adjust_rule, false)
      )
    ) OR (d, concat(substring(area, 1, 2), '0000')) IN (
      SELECT d, toString(division_code) AS area FROM (
        SELECT *
        FROM (
          SELECT arrayJoin(arrayFilter((day, first) -> first = i, {dates:Array(Date32)}, firsts)) AS d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS adjust_rule, tupleElement(t, 3) AS division_code
          FROM (
            SELECT xs.2 AS begins, xs.3 AS ts, arrayMap(d -> arrayFirstIndex(b -> b <= d, begins), {dates:Array(Date32)}) AS firsts
            FROM (WITH bitOr(bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version))) AS _order SELECT arrayReverseSort(x -> x.1, groupArray((_order, effective_from, (toString(reporting_unit), adjust_rule, division_code)))) AS xs FROM (
            SELECT _version, adjust_rule, cert_level, division_code, effective_from, reporting_unit FROM pay_standard FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
            UNION ALL
            SELECT _version, adjust_rule, cert_level, division_code, effective_from, reporting_unit FROM pay_standard FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(division_code, cert_level) IN (
            SELECT DISTINCT xxh3(division_code, cert_level) AS h FROM pay_standard WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND true AND xxh3(division_code, cert_level) NOT IN (SELECT xxh3(division_code, cert_level) FROM pay_standard FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)}))
          )
          ) GROUP BY xxh3(division_code, cert_level), cityHash64(division_code, cert_level))
          )
          ARRAY JOIN ts AS t, arrayEnumerate(ts) AS i
        )
        WHERE ifNull(adjust_rule, false)
      )
    ))) AS v, count() AS source
    FROM (
      SELECT n.d AS d, leftPad(toString(c.place), 6, '0') AS unit, toString(c.area) AS area, c.x AS x
      FROM (
        SELECT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, division_code AS area, period AS month,
          argMax(registered_users, bitOr(bitShiftLeft(toUInt128(reporting_unit != '000000'), 120), _version)) AS x
        FROM context FINAL
        WHERE registered_users IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}) AND NOT endsWith(division_code, '00') AND (place, month) IN (SELECT place, newest FROM (
          SELECT place, d, max(month) AS newest
          FROM (SELECT DISTINCT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, period AS month FROM context FINAL WHERE registered_users IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}) AND NOT endsWith(division_code, '00'))
          ARRAY JOIN {dates:Array(Date32)} AS d
          WHERE month <= d
          GROUP BY place, d
        ))
        GROUP BY place, area, month
      ) AS c
      INNER JOIN (
        SELECT place, d, max(month) AS newest
        FROM (SELECT DISTINCT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, period AS month FROM context FINAL WHERE registered_users IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}) AND NOT endsWith(division_code, '00'))
        ARRAY JOIN {dates:Array(Date32)} AS d
        WHERE month <= d
        GROUP BY place, d
      ) AS n ON c.place = n.place AND c.month = n.newest
    )
    GROUP BY d, unit
  ) AS t
  INNER JOIN (
    SELECT d, unit, '' AS cat, toFloat64(argMax(total, level)) AS v, argMax(areas, level) AS source
    FROM (
      SELECT d, unit, multiIf(endsWith(area, '0000'), 3, endsWith(area, '00'), 2, 1) AS level, sum(x) AS total, count() AS areas
      FROM (
        SELECT n.d AS d, leftPad(toString(c.place), 6, '0') AS unit, toString(c.area) AS area, c.x AS x
        FROM (
          SELECT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, division_code AS area, period AS month,
            argMax(county_total, bitOr(bitShiftLeft(toUInt128(reporting_unit != '000000'), 120), _version)) AS x
          FROM context FINAL
          WHERE county_total IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}) AND (place, month) IN (SELECT place, newest FROM (
            SELECT place, d, max(month) AS newest
            FROM (SELECT DISTINCT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, period AS month FROM context FINAL WHERE county_total IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}))
            ARRAY JOIN {dates:Array(Date32)} AS d
            WHERE month <= d
            GROUP BY place, d
          ))
          GROUP BY place, area, month
        ) AS c
        INNER JOIN (
          SELECT place, d, max(month) AS newest
          FROM (SELECT DISTINCT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, period AS month FROM context FINAL WHERE county_total IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}))
          ARRAY JOIN {dates:Array(Date32)} AS d
          WHERE month <= d
          GROUP BY place, d
        ) AS n ON c.place = n.place AND c.month = n.newest
      )
      GROUP BY d, unit, level
    )
    GROUP BY d, unit
  ) AS b ON t.d = b.d AND t.unit = b.unit
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- units = ['310000']
