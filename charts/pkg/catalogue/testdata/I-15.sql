SELECT d, unit, cat, n, m, source
FROM (
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.v, 0)) AS v, toUInt64(ifNull(c.source, 0)) AS source
    FROM (
      SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
      FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM project UNION ALL SELECT DISTINCT toString(reporting_unit) AS unit FROM post UNION ALL SELECT DISTINCT toString(reporting_unit) AS unit FROM employment))
    ) AS g
    LEFT JOIN (
      SELECT d, unit, cat, uniqExact(xxh3(key)) AS v, count() AS source
      FROM (
        SELECT d, unit, '' AS cat, [toString(county_code)] AS key, provider_uscc AS provider
        FROM (
          SELECT *
          FROM (
            SELECT d, toString(reporting_unit) AS unit, county_code, end_on, provider_uscc, start_on
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
        SELECT d, unit, '' AS cat, [toString(county_code)] AS key, provider_uscc AS provider
        FROM (
          SELECT *
          FROM (
            SELECT arrayJoin(arrayFilter((day, first) -> first = i, {dates:Array(Date32)}, firsts)) AS d, tupleElement(t, 1) AS unit, tupleElement(t, 2) AS county_code, tupleElement(t, 3) AS end_on, tupleElement(t, 4) AS provider_uscc, tupleElement(t, 5) AS start_on
            FROM (
              SELECT xs.2 AS begins, xs.3 AS ts, arrayMap(d -> arrayFirstIndex(b -> b <= d, begins), {dates:Array(Date32)}) AS firsts
              FROM (WITH bitOr(bitShiftLeft(toUInt256(substring(purchaser_uscc, 3, 2) = substring(toString(reporting_unit), 1, 2)), 145), bitOr(bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version)))) AS _order SELECT arrayReverseSort(x -> x.1, groupArray((_order, effective_from, (toString(reporting_unit), county_code, end_on, provider_uscc, start_on)))) AS xs FROM (
              SELECT _version, budget_year, county_code, effective_from, end_on, post_id, provider_uscc, purchaser_uscc, reporting_unit, start_on FROM post FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
              UNION ALL
              SELECT _version, budget_year, county_code, effective_from, end_on, post_id, provider_uscc, purchaser_uscc, reporting_unit, start_on FROM post FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(purchaser_uscc, post_id, budget_year) IN (
              SELECT DISTINCT xxh3(purchaser_uscc, post_id, budget_year) AS h FROM post WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND (ifNull(start_on <= arrayMax({dates:Array(Date32)}), true) AND ifNull(end_on >= arrayMin({dates:Array(Date32)}), true) OR xxh3(purchaser_uscc, post_id, budget_year) IN (SELECT xxh3(purchaser_uscc, post_id, budget_year) FROM post FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMax({dates:Array(Date32)}))) AND xxh3(purchaser_uscc, post_id, budget_year) NOT IN (SELECT xxh3(purchaser_uscc, post_id, budget_year) FROM post FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)}) AND substring(purchaser_uscc, 3, 2) = substring(toString(reporting_unit), 1, 2))
            )
            ) GROUP BY xxh3(purchaser_uscc, post_id, budget_year), cityHash64(purchaser_uscc, post_id, budget_year))
            )
            ARRAY JOIN ts AS t, arrayEnumerate(ts) AS i
          )
          WHERE ifNull(start_on <= d, true) AND ifNull(end_on >= d, true)
        )
        UNION ALL
        SELECT d, unit, '' AS cat, [toString(county_code)] AS key, employer_uscc AS provider
        FROM (
          SELECT *
          FROM (
            SELECT d, toString(reporting_unit) AS unit, county_code, employer_uscc, end_on, start_on, worker_category
            FROM (SELECT * FROM employment FINAL WHERE xxh3(reporting_unit, record_id) NOT IN (
              SELECT arrayJoin(arrayPopFront(arrayMap(x -> x.2, arrayReverseSort(groupArray((bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version)), xxh3(reporting_unit, record_id))))))) AS h
              FROM employment FINAL
              WHERE (reporting_unit, record_id) IN (SELECT reporting_unit, record_id FROM employment WHERE xxh3(id_number_token, employer_uscc, start_on) IN (
                SELECT arrayJoin(arrayFilter((h, before) -> h = before, hs, arrayPushFront(arrayPopBack(hs), 0))) AS h
                FROM (SELECT arraySort(groupArray(xxh3(id_number_token, employer_uscc, start_on))) AS hs FROM employment GROUP BY xxh3(id_number_token, employer_uscc, start_on) % 16)
              ))
              GROUP BY id_number_token, employer_uscc, start_on
            ))
            ARRAY JOIN {dates:Array(Date32)} AS d
          )
          WHERE ifNull(toString(worker_category), '') IN {where_worker_category:Array(String)} AND ifNull(start_on <= d, true) AND ifNull(end_on > d, true)
        )
      )
      WHERE xxh3(d, provider) IN (
        SELECT xxh3(d, uscc)
        FROM (
          SELECT uscc, arrayFill(x -> x != 0, maxResample(1, 3, 1)(bitOr(bitShiftLeft(bitOr(bitShiftLeft(toUInt256(toInt32(effective_from) + 40000), 127), bitOr(bitShiftLeft(toUInt256(999999 - toUInt32(toString(reporting_unit))), 107), toUInt256(_version))), 1), toUInt256(ifNull(toString(status), '') IN {where_status:Array(String)} AND ifNull(toString(org_type), '') IN {where_org_type:Array(String)} AND true)), transform(roundDown(-toInt32(effective_from), {days_back:Array(Int32)}), {days_back:Array(Int32)}, {days_at:Array(UInt32)}, toUInt32(0)))) AS xs
          FROM (
          SELECT _version, effective_from, org_type, reporting_unit, status, uscc FROM org FINAL WHERE effective_from <= arrayMax({dates:Array(Date32)}) AND effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3)
          UNION ALL
          SELECT _version, effective_from, org_type, reporting_unit, status, uscc FROM org FINAL WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND xxh3(uscc) IN (
          SELECT DISTINCT xxh3(uscc) AS h FROM org WHERE effective_from <= addMonths(arrayMin({dates:Array(Date32)}), -3) AND true AND xxh3(uscc) NOT IN (SELECT xxh3(uscc) FROM org FINAL WHERE effective_from > addMonths(arrayMin({dates:Array(Date32)}), -3) AND effective_from <= arrayMin({dates:Array(Date32)}))
        )
        )
          GROUP BY uscc
        )
        ARRAY JOIN {dates:Array(Date32)} AS d, xs AS x
        WHERE bitAnd(toUInt8(x), 1) = 1
      ) AND xxh3(d, unit, key[1]) IN (SELECT xxh3(d, unit, area) FROM (
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
      ))
      GROUP BY d, unit, cat
    ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
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
-- categories = ['01','02','03']
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- days_at = [3,2,1]
-- days_back = [-1000000,-17116,-17105]
-- units = ['310000']
-- where_org_type = ['51','52','53']
-- where_status = ['active']
-- where_worker_category = ['01','02','03']
