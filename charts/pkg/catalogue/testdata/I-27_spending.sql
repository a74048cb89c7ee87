SELECT d, unit, cat, n, m, source
FROM (
  SELECT d, unit, arrayJoin({codes_of:Array(String)}) AS cat, n, m, source
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
  UNION ALL
  SELECT d, unit, arrayJoin({codes_of_2:Array(String)}) AS cat, n, m, source
  FROM (
    SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
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
    ) AS t
    INNER JOIN (
      SELECT d, unit, cat, n AS v, source
      FROM (
        SELECT g.d AS d, g.unit AS unit, g.cat AS cat, toFloat64(ifNull(c.n, 0)) AS n, toFloat64(ifNull(c.m, 0)) AS m, toUInt64(ifNull(c.source, 0)) AS source
        FROM (
          SELECT unit, arrayJoin({dates:Array(Date32)}) AS d, arrayJoin(['']) AS cat
          FROM (SELECT DISTINCT unit FROM (SELECT DISTINCT toString(reporting_unit) AS unit FROM employment))
        ) AS g
        LEFT JOIN (
          SELECT d, unit, cat, n, m, heads AS source
          FROM (
            SELECT p.unit AS unit, '' AS cat, sumForEach(p.here) AS ns, sumForEach(p.here) AS ms, sumForEach(p.here) AS hs
            FROM (
              SELECT person, leftPad(toString(s), 6, '0') AS unit, leftPad(toString(c), 2, '0') AS category, if(a = 0, '', leftPad(toString(a), 6, '0')) AS county,
                arrayMap(f -> f = i, firsts) AS here
              FROM (
                SELECT person, spells.2 AS units, spells.3 AS begins, spells.4 AS ends, spells.5 AS categories, spells.6 AS areas,
                  arrayMap(d -> arrayFirst((x, b, e) -> b <= d AND e > d, arrayEnumerate(units), begins, ends), {dates:Array(Date32)}) AS firsts
                FROM (
                  SELECT reinterpretAsUInt128(substring(id_number_token, 17)) AS person, arraySort(groupArray((bitShiftLeft(toInt256(-toInt32(start_on)), 84) + bitShiftLeft(toInt256(toUInt32(toString(reporting_unit))), 64) + xxh3(record_id), toUInt32(toString(reporting_unit)), start_on, ifNull(end_on, toDate32('2299-12-31')), toUInt8OrZero(toString(worker_category)), toUInt32OrZero(toString(county_code))))) AS spells
                  FROM employment FINAL
                  WHERE worker_category IN {categories:Array(String)} AND start_on <= arrayMax({dates:Array(Date32)}) AND ifNull(end_on > arrayMin({dates:Array(Date32)}), true)
                  GROUP BY person
                )
              )
              ARRAY JOIN units AS s, categories AS c, areas AS a, arrayEnumerate(units) AS i
            ) AS p
            GROUP BY unit, cat
          )
          ARRAY JOIN {dates:Array(Date32)} AS d, ns AS n, ms AS m, hs AS heads
        ) AS c ON g.d = c.d AND g.unit = c.unit AND g.cat = c.cat
      )
    ) AS b ON t.d = b.d AND t.unit = b.unit
  )
  UNION ALL
  SELECT d, unit, arrayJoin({codes_of_3:Array(String)}) AS cat, n, m, source
  FROM (
    SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
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
    ) AS t
    INNER JOIN (
      SELECT d, unit, '' AS cat, toFloat64(argMax(total, level)) AS v, argMax(areas, level) AS source
      FROM (
        SELECT d, unit, multiIf(endsWith(area, '0000'), 3, endsWith(area, '00'), 2, 1) AS level, sum(x) AS total, count() AS areas
        FROM (
          SELECT n.d AS d, leftPad(toString(c.place), 6, '0') AS unit, toString(c.area) AS area, c.x AS x
          FROM (
            SELECT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, division_code AS area, period AS month,
              argMax(population, bitOr(bitShiftLeft(toUInt128(reporting_unit != '000000'), 120), _version)) AS x
            FROM context FINAL
            WHERE population IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}) AND (place, month) IN (SELECT place, newest FROM (
              SELECT place, d, max(month) AS newest
              FROM (SELECT DISTINCT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, period AS month FROM context FINAL WHERE population IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}))
              ARRAY JOIN {dates:Array(Date32)} AS d
              WHERE month <= d
              GROUP BY place, d
            ))
            GROUP BY place, area, month
          ) AS c
          INNER JOIN (
            SELECT place, d, max(month) AS newest
            FROM (SELECT DISTINCT if(reporting_unit = '000000', 10000 * toUInt32OrZero(substring(division_code, 1, 2)), toUInt32OrZero(toString(reporting_unit))) AS place, period AS month FROM context FINAL WHERE population IS NOT NULL AND period <= arrayMax({dates:Array(Date32)}))
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
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- categories = ['01','02','03']
-- codes = ['total','per_worker','per_10k']
-- codes_of = ['total']
-- codes_of_2 = ['per_worker']
-- codes_of_3 = ['per_10k']
-- dates = ['2016-10-31','2016-11-11']
-- mode = 1
-- mode_2 = 2
-- units = ['310000']
