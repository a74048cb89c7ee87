SELECT d, unit, cat, n, m, source
FROM (
  SELECT {dates:Array(Date32)}[1] AS d, unit, '' AS cat,
    toNullable(dateDiff('second', max(last), {now:DateTime64(3, 'UTC')}) / 3600) AS n, CAST(NULL, 'Nullable(Float64)') AS m, sum(source) AS source
  FROM (
    SELECT 'attendance' AS feed, toString(reporting_unit) AS unit, max(reported_at) AS last, count() AS source FROM attendance WHERE reported_at <= {now:DateTime64(3, 'UTC')} GROUP BY unit
    UNION ALL
    SELECT 'context' AS feed, toString(reporting_unit) AS unit, max(reported_at) AS last, count() AS source FROM context WHERE reported_at <= {now:DateTime64(3, 'UTC')} GROUP BY unit
    UNION ALL
    SELECT 'employment' AS feed, toString(reporting_unit) AS unit, max(reported_at) AS last, count() AS source FROM employment WHERE reported_at <= {now:DateTime64(3, 'UTC')} GROUP BY unit
    UNION ALL
    SELECT 'org' AS feed, toString(reporting_unit) AS unit, max(reported_at) AS last, count() AS source FROM org WHERE reported_at <= {now:DateTime64(3, 'UTC')} GROUP BY unit
    UNION ALL
    SELECT 'post' AS feed, toString(reporting_unit) AS unit, max(reported_at) AS last, count() AS source FROM post WHERE reported_at <= {now:DateTime64(3, 'UTC')} GROUP BY unit
    UNION ALL
    SELECT 'project' AS feed, toString(reporting_unit) AS unit, max(reported_at) AS last, count() AS source FROM project WHERE reported_at <= {now:DateTime64(3, 'UTC')} GROUP BY unit
    UNION ALL
    SELECT 'qualification' AS feed, toString(reporting_unit) AS unit, max(reported_at) AS last, count() AS source FROM qualification WHERE reported_at <= {now:DateTime64(3, 'UTC')} GROUP BY unit
    UNION ALL
    SELECT 'training' AS feed, toString(reporting_unit) AS unit, max(reported_at) AS last, count() AS source FROM training WHERE reported_at <= {now:DateTime64(3, 'UTC')} GROUP BY unit
  )
  GROUP BY unit, cat
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- codes = ['']
-- dates = ['2016-10-31','2016-11-11']
-- now = 2016-11-11 00:00:00
-- units = ['310000']
