SELECT d, unit, cat, n, m, source
FROM (
  SELECT d, unit, cat, toNullable(toFloat64(sum(mended))) AS n, toNullable(toFloat64(sum(c))) AS m, toUInt64(sum(c)) AS source
  FROM (
    SELECT toString(reporting_unit) AS unit, '' AS cat, toDate32(reported_at) AS day, uniqExactIf(xxh3(record_id, _version), op IN {ops:Array(String)}) AS mended, uniqExact(xxh3(record_id, _version)) AS c FROM attendance_history WHERE _part = 0 AND reported_at >= toDateTime(toStartOfMonth(arrayMin({dates:Array(Date32)})), 'Asia/Shanghai') AND reported_at < toDateTime(addDays(arrayMax({dates:Array(Date32)}), 1), 'Asia/Shanghai') GROUP BY unit, day
    UNION ALL
    SELECT toString(reporting_unit) AS unit, '' AS cat, toDate32(reported_at) AS day, uniqExactIf(xxh3(record_id, _version), op IN {ops:Array(String)}) AS mended, uniqExact(xxh3(record_id, _version)) AS c FROM context_history WHERE _part = 0 AND reported_at >= toDateTime(toStartOfMonth(arrayMin({dates:Array(Date32)})), 'Asia/Shanghai') AND reported_at < toDateTime(addDays(arrayMax({dates:Array(Date32)}), 1), 'Asia/Shanghai') GROUP BY unit, day
    UNION ALL
    SELECT toString(reporting_unit) AS unit, '' AS cat, toDate32(reported_at) AS day, uniqExactIf(xxh3(record_id, _version), op IN {ops:Array(String)}) AS mended, uniqExact(xxh3(record_id, _version)) AS c FROM demo_site_history WHERE _part = 0 AND reported_at >= toDateTime(toStartOfMonth(arrayMin({dates:Array(Date32)})), 'Asia/Shanghai') AND reported_at < toDateTime(addDays(arrayMax({dates:Array(Date32)}), 1), 'Asia/Shanghai') GROUP BY unit, day
    UNION ALL
    SELECT toString(reporting_unit) AS unit, '' AS cat, toDate32(reported_at) AS day, uniqExactIf(xxh3(record_id, _version), op IN {ops:Array(String)}) AS mended, uniqExact(xxh3(record_id, _version)) AS c FROM employment_history WHERE _part = 0 AND reported_at >= toDateTime(toStartOfMonth(arrayMin({dates:Array(Date32)})), 'Asia/Shanghai') AND reported_at < toDateTime(addDays(arrayMax({dates:Array(Date32)}), 1), 'Asia/Shanghai') GROUP BY unit, day
    UNION ALL
    SELECT toString(reporting_unit) AS unit, '' AS cat, toDate32(reported_at) AS day, uniqExactIf(xxh3(record_id, _version), op IN {ops:Array(String)}) AS mended, uniqExact(xxh3(record_id, _version)) AS c FROM evaluation_history WHERE _part = 0 AND reported_at >= toDateTime(toStartOfMonth(arrayMin({dates:Array(Date32)})), 'Asia/Shanghai') AND reported_at < toDateTime(addDays(arrayMax({dates:Array(Date32)}), 1), 'Asia/Shanghai') GROUP BY unit, day
    UNION ALL
    SELECT toString(reporting_unit) AS unit, '' AS cat, toDate32(reported_at) AS day, uniqExactIf(xxh3(record_id, _version), op IN {ops:Array(String)}) AS mended, uniqExact(xxh3(record_id, _version)) AS c FROM id_change_history WHERE _part = 0 AND reported_at >= toDateTime(toStartOfMonth(arrayMin({dates:Array(Date32)})), 'Asia/Shanghai') AND reported_at < toDateTime(addDays(arrayMax({dates:Array(Date32)}), 1), 'Asia/Shanghai') GROUP BY unit, day
    UNION ALL
    SELECT toString(reporting_unit) AS unit, '' AS cat, toDate32(reported_at) AS day, uniqExactIf(xxh3(record_id, _version), op IN {ops:Array(String)}) AS mended, uniqExact(xxh3(record_id, _version)) AS c FROM org_history WHERE _part = 0 AND reported_at >= toDateTime(toStartOfMonth(arrayMin({dates:Array(Date32)})), 'Asia/Shanghai') AND reported_at < toDateTime(addDays(arrayMax({dates:Array(Date32)}), 1), 'Asia/Shanghai') GROUP BY unit, day
    UNION ALL
    SELECT toString(reporting_unit) AS unit, '' AS cat, toDate32(reported_at) AS day, uniqExactIf(xxh3(record_id, _version), op IN {ops:Array(String)}) AS mended, uniqExact(xxh3(record_id, _version)) AS c FROM pay_standard_history WHERE _part = 0 AND reported_at >= toDateTime(toStartOfMonth(arrayMin({dates:Array(Date32)})), 'Asia/Shanghai') AND reported_at < toDateTime(addDays(arrayMax({dates:Array(Date32)}), 1), 'Asia/Shanghai') GROUP BY unit, day
    UNION ALL
    SELECT toString(reporting_unit) AS unit, '' AS cat, toDate32(reported_at) AS day, uniqExactIf(xxh3(record_id, _version), op IN {ops:Array(String)}) AS mended, uniqExact(xxh3(record_id, _version)) AS c FROM policy_doc_history WHERE _part = 0 AND reported_at >= toDateTime(toStartOfMonth(arrayMin({dates:Array(Date32)})), 'Asia/Shanghai') AND reported_at < toDateTime(addDays(arrayMax({dates:Array(Date32)}), 1), 'Asia/Shanghai') GROUP BY unit, day
    UNION ALL
    SELECT toString(reporting_unit) AS unit, '' AS cat, toDate32(reported_at) AS day, uniqExactIf(xxh3(record_id, _version), op IN {ops:Array(String)}) AS mended, uniqExact(xxh3(record_id, _version)) AS c FROM post_history WHERE _part = 0 AND reported_at >= toDateTime(toStartOfMonth(arrayMin({dates:Array(Date32)})), 'Asia/Shanghai') AND reported_at < toDateTime(addDays(arrayMax({dates:Array(Date32)}), 1), 'Asia/Shanghai') GROUP BY unit, day
    UNION ALL
    SELECT toString(reporting_unit) AS unit, '' AS cat, toDate32(reported_at) AS day, uniqExactIf(xxh3(record_id, _version), op IN {ops:Array(String)}) AS mended, uniqExact(xxh3(record_id, _version)) AS c FROM project_history WHERE _part = 0 AND reported_at >= toDateTime(toStartOfMonth(arrayMin({dates:Array(Date32)})), 'Asia/Shanghai') AND reported_at < toDateTime(addDays(arrayMax({dates:Array(Date32)}), 1), 'Asia/Shanghai') GROUP BY unit, day
    UNION ALL
    SELECT toString(reporting_unit) AS unit, '' AS cat, toDate32(reported_at) AS day, uniqExactIf(xxh3(record_id, _version), op IN {ops:Array(String)}) AS mended, uniqExact(xxh3(record_id, _version)) AS c FROM qualification_history WHERE _part = 0 AND reported_at >= toDateTime(toStartOfMonth(arrayMin({dates:Array(Date32)})), 'Asia/Shanghai') AND reported_at < toDateTime(addDays(arrayMax({dates:Array(Date32)}), 1), 'Asia/Shanghai') GROUP BY unit, day
    UNION ALL
    SELECT toString(reporting_unit) AS unit, '' AS cat, toDate32(reported_at) AS day, uniqExactIf(xxh3(record_id, _version), op IN {ops:Array(String)}) AS mended, uniqExact(xxh3(record_id, _version)) AS c FROM station_history WHERE _part = 0 AND reported_at >= toDateTime(toStartOfMonth(arrayMin({dates:Array(Date32)})), 'Asia/Shanghai') AND reported_at < toDateTime(addDays(arrayMax({dates:Array(Date32)}), 1), 'Asia/Shanghai') GROUP BY unit, day
    UNION ALL
    SELECT toString(reporting_unit) AS unit, '' AS cat, toDate32(reported_at) AS day, uniqExactIf(xxh3(record_id, _version), op IN {ops:Array(String)}) AS mended, uniqExact(xxh3(record_id, _version)) AS c FROM training_history WHERE _part = 0 AND reported_at >= toDateTime(toStartOfMonth(arrayMin({dates:Array(Date32)})), 'Asia/Shanghai') AND reported_at < toDateTime(addDays(arrayMax({dates:Array(Date32)}), 1), 'Asia/Shanghai') GROUP BY unit, day
    UNION ALL
    SELECT toString(reporting_unit) AS unit, '' AS cat, toDate32(reported_at) AS day, uniqExactIf(xxh3(record_id, _version), op IN {ops:Array(String)}) AS mended, uniqExact(xxh3(record_id, _version)) AS c FROM worker_history WHERE _part = 0 AND reported_at >= toDateTime(toStartOfMonth(arrayMin({dates:Array(Date32)})), 'Asia/Shanghai') AND reported_at < toDateTime(addDays(arrayMax({dates:Array(Date32)}), 1), 'Asia/Shanghai') GROUP BY unit, day
  )
  ARRAY JOIN {dates:Array(Date32)} AS d
  WHERE day <= d AND day >= toDate32(toStartOfMonth(d))
  GROUP BY d, unit, cat
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- ops = ['C','V']
-- units = ['310000']
