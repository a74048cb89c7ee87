SELECT d, unit, cat, n, m, source
FROM (
  SELECT t.d AS d, t.unit AS unit, t.cat AS cat, toNullable(t.v) AS n, toNullable(b.v) AS m, t.source + ifNull(b.source, 0) AS source
  FROM (
    SELECT d, unit, feed AS cat, toFloat64(countIf(ifNull(f.first < a.due, false))) AS v, countIf(isNotNull(f.first)) AS source
    FROM (
      SELECT d, unit, tupleElement(b, 1) AS feed, tupleElement(b, 2) AS month, tupleElement(b, 3) AS due
      FROM (SELECT arrayJoin({dates:Array(Date32)}) AS d, arrayJoin({units:Array(String)}) AS unit)
      ARRAY JOIN arrayZip({due_feeds:Array(String)}, {due_months:Array(Date32)}, {due_at:Array(DateTime('Asia/Shanghai'))}) AS b
      WHERE toYear(subtractSeconds(due, 1)) = toYear(d) AND toDate32(subtractSeconds(due, 1)) <= d
    ) AS a
    LEFT JOIN (
      SELECT 'context' AS feed, toString(reporting_unit) AS unit, period AS month, min(reported_at) AS first FROM context_history WHERE period >= arrayMin({due_months:Array(Date32)}) GROUP BY unit, month
      UNION ALL
      SELECT 'org' AS feed, toString(reporting_unit) AS unit, period AS month, min(reported_at) AS first FROM org_history WHERE period >= arrayMin({due_months:Array(Date32)}) GROUP BY unit, month
      UNION ALL
      SELECT 'worker' AS feed, toString(reporting_unit) AS unit, period AS month, min(reported_at) AS first FROM worker_history WHERE period >= arrayMin({due_months:Array(Date32)}) GROUP BY unit, month
    ) AS f ON a.feed = f.feed AND a.unit = f.unit AND a.month = f.month
    GROUP BY d, unit, cat
  ) AS t
  INNER JOIN (
    SELECT d, unit, feed AS cat, toFloat64(count()) AS v, toUInt64(0) AS source
    FROM (
      SELECT d, unit, tupleElement(b, 1) AS feed, tupleElement(b, 2) AS month, tupleElement(b, 3) AS due
      FROM (SELECT arrayJoin({dates:Array(Date32)}) AS d, arrayJoin({units:Array(String)}) AS unit)
      ARRAY JOIN arrayZip({due_feeds:Array(String)}, {due_months:Array(Date32)}, {due_at:Array(DateTime('Asia/Shanghai'))}) AS b
      WHERE toYear(subtractSeconds(due, 1)) = toYear(d) AND toDate32(subtractSeconds(due, 1)) <= d
    )
    GROUP BY d, unit, cat
  ) AS b ON t.d = b.d AND t.unit = b.unit AND t.cat = b.cat
)
WHERE unit IN {units:Array(String)}
ORDER BY d, unit, cat
SETTINGS join_use_nulls = 1, optimize_and_compare_chain = 0
-- codes = ['context','org','worker']
-- dates = ['2016-10-31','2016-11-11']
-- due_at = ['2015-11-07 00:00:00','2015-12-08 00:00:00','2016-01-09 00:00:00','2016-02-06 00:00:00','2016-03-08 00:00:00','2016-04-09 00:00:00','2016-05-10 00:00:00','2016-06-08 00:00:00','2016-07-08 00:00:00','2016-08-06 00:00:00','2016-09-08 00:00:00','2016-10-13 00:00:00','2016-11-08 00:00:00','2016-12-08 00:00:00','2015-11-07 00:00:00','2015-12-08 00:00:00','2016-01-09 00:00:00','2016-02-06 00:00:00','2016-03-08 00:00:00','2016-04-09 00:00:00','2016-05-10 00:00:00','2016-06-08 00:00:00','2016-07-08 00:00:00','2016-08-06 00:00:00','2016-09-08 00:00:00','2016-10-13 00:00:00','2016-11-08 00:00:00','2016-12-08 00:00:00','2015-11-07 00:00:00','2015-12-08 00:00:00','2016-01-09 00:00:00','2016-02-06 00:00:00','2016-03-08 00:00:00','2016-04-09 00:00:00','2016-05-10 00:00:00','2016-06-08 00:00:00','2016-07-08 00:00:00','2016-08-06 00:00:00','2016-09-08 00:00:00','2016-10-13 00:00:00','2016-11-08 00:00:00','2016-12-08 00:00:00']
-- due_feeds = ['context','context','context','context','context','context','context','context','context','context','context','context','context','context','org','org','org','org','org','org','org','org','org','org','org','org','org','org','worker','worker','worker','worker','worker','worker','worker','worker','worker','worker','worker','worker','worker','worker']
-- due_months = ['2015-10-01','2015-11-01','2015-12-01','2016-01-01','2016-02-01','2016-03-01','2016-04-01','2016-05-01','2016-06-01','2016-07-01','2016-08-01','2016-09-01','2016-10-01','2016-11-01','2015-10-01','2015-11-01','2015-12-01','2016-01-01','2016-02-01','2016-03-01','2016-04-01','2016-05-01','2016-06-01','2016-07-01','2016-08-01','2016-09-01','2016-10-01','2016-11-01','2015-10-01','2015-11-01','2015-12-01','2016-01-01','2016-02-01','2016-03-01','2016-04-01','2016-05-01','2016-06-01','2016-07-01','2016-08-01','2016-09-01','2016-10-01','2016-11-01']
-- units = ['310000']
