package gateway

import (
	"maps"
	"net/http"
)

// route is one address: what serves it and what the OpenAPI document says of it.
type route struct {
	method, path, id string
	zh, en           string
	// open routes ask for no sign-in; a probe stands on the admin port too and is
	// not logged.
	open, probe bool
	// body says that the request carries a file.
	body    bool
	params  []string // names in parameters
	answers replies
	serve   func(*call) error
}

// replies are what a route answers, by status.
type replies map[int]reply

// reply is one answer: its media types, each with the name of its schema (""
// where it is no JSON).
type reply struct {
	en    string
	types map[string]string
}

func jsonOf(en, schema string) reply {
	return reply{en, map[string]string{"application/json": schema}}
}

const xlsx = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

// refused are the statuses of a problem, and in one word why.
var refused = map[int]string{
	http.StatusBadRequest:            "The body was cut, is damaged, or a parameter is not written as it should be.",
	http.StatusUnauthorized:          "No token or certificate that counts.",
	http.StatusForbidden:             "The token or certificate speaks for no unit.",
	http.StatusNotFound:              "There is no such unit, feed or batch, or it is another unit's: the two cannot be told apart.",
	http.StatusRequestTimeout:        "The body comes too slowly.",
	http.StatusConflict:              "Another content was sent under this Idempotency-Key.",
	http.StatusRequestEntityTooLarge: "More bytes, or more rows, than allowed.",
	http.StatusUnsupportedMediaType:  "Content-Type or Content-Encoding is not taken or not true.",
	http.StatusUnprocessableEntity:   "The file is no table of this feed; detail says why and how to mend it.",
	http.StatusTooManyRequests:       "The unit asks too often; see Retry-After.",
	http.StatusServiceUnavailable:    "The database, or room in the spool, is missing for now; see Retry-After.",
}

// with adds refusals to what a route answers when all goes well. Every signed-in
// route may refuse the caller.
func with(good replies, statuses ...int) replies {
	out := maps.Clone(good)
	for _, s := range append(statuses, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests) {
		out[s] = reply{refused[s], map[string]string{"application/problem+json": "Problem"}}
	}
	return out
}

var takesFile = []int{
	http.StatusBadRequest, http.StatusNotFound, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge,
	http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity,
}

// routes are all addresses but those of the page.
var routes = []route{
	{
		method: "POST", path: "/v1/units/{unit}/feeds/{feed}/batches", id: "sendBatch", body: true,
		zh: "报送一个文件", en: "Send one file as a batch",
		params: []string{"Idempotency-Key", "Content-Encoding", "Content-Digest", "as_of"},
		answers: with(replies{
			http.StatusAccepted: jsonOf("The batch lies durable in the gateway and is sent to Kafka until it is there. Location is its receipt.", "Batch"),
			http.StatusOK:       jsonOf("This batch was taken in before, with the same content; nothing was done.", "Batch"),
		}, append(takesFile, http.StatusConflict, http.StatusServiceUnavailable)...),
		serve: (*call).sendBatch,
	},
	{
		method: "GET", path: "/v1/units/{unit}/feeds/{feed}/batches/{batch}", id: "receipt",
		zh: "回执：一个批次的去向", en: "The receipt: what became of a batch",
		answers: with(replies{http.StatusOK: jsonOf("The receipt, the same that duiwu receipt --json prints.", "Receipt")},
			http.StatusNotFound, http.StatusServiceUnavailable),
		serve: (*call).receipt,
	},
	{
		method: "GET", path: "/v1/units/{unit}/feeds/{feed}/batches/{batch}/rejects", id: "rejects",
		zh: "被退回的记录（JSON 或 CSV）", en: "The refused records of a batch, as JSON or CSV",
		params: []string{"format"},
		answers: with(replies{http.StatusOK: {"Refused records with their place and rules, never a personal value.",
			map[string]string{"application/json": "Rejects", "text/csv": ""}}},
			http.StatusBadRequest, http.StatusNotFound, http.StatusServiceUnavailable),
		serve: (*call).rejects,
	},
	{
		method: "POST", path: "/v1/units/{unit}/feeds/{feed}/check", id: "check", body: true,
		zh: "只检查，不保存", en: "Judge a file and keep nothing of it",
		params: []string{"Content-Encoding", "Content-Digest", "as_of", "rows", "format"},
		answers: with(replies{http.StatusOK: {"The findings; with format=xlsx a copy of the file with the bad cells marked.",
			map[string]string{"application/json": "Check", xlsx: ""}}}, takesFile...),
		serve: (*call).check,
	},
	{
		method: "GET", path: "/v1/units/{unit}/feeds/{feed}/calendar", id: "feedCalendar",
		zh: "本单位一个类别的报送日历", en: "The unit's own timeliness in one feed",
		params: []string{"months"},
		answers: with(replies{http.StatusOK: jsonOf("What is due when, and what came.", "Calendar")},
			http.StatusBadRequest, http.StatusNotFound, http.StatusServiceUnavailable),
		serve: (*call).calendar,
	},
	{
		method: "GET", path: "/v1/units/{unit}/calendar", id: "calendar",
		zh: "本单位的报送日历", en: "The unit's own timeliness in all feeds",
		params: []string{"months"},
		answers: with(replies{http.StatusOK: jsonOf("What is due when, and what came.", "Calendar")},
			http.StatusBadRequest, http.StatusNotFound, http.StatusServiceUnavailable),
		serve: (*call).calendar,
	},
	{
		method: "GET", path: "/v1/feeds/{feed}/template", id: "template",
		zh: "填报模板", en: "The workbook that a clerk fills in",
		answers: with(replies{http.StatusOK: {"An XLSX template with code lists and instructions.", map[string]string{xlsx: ""}}}, http.StatusNotFound),
		serve:   (*call).template,
	},
	{
		method: "GET", path: "/v1/session", id: "session",
		zh: "我是谁，可以报送什么", en: "Who is signed in, and what he may send",
		answers: with(replies{http.StatusOK: jsonOf("The units and feeds of the caller.", "Session")}),
		serve:   (*call).session,
	},
	{
		method: "GET", path: "/openapi.json", id: "openapi", open: true,
		zh: "本文档", en: "This document",
		answers: replies{http.StatusOK: jsonOf("OpenAPI 3.1.", "")},
		serve: func(c *call) error {
			c.w.Header().Set("Content-Type", "application/json")
			_, _ = c.w.Write(c.g.openapi) // whoever hung up needs no answer
			return nil
		},
	},
	{
		method: "GET", path: "/livez", id: "livez", open: true, probe: true,
		zh: "进程在运行", en: "The process runs",
		answers: replies{http.StatusOK: {"ok", map[string]string{"text/plain": ""}}},
		serve:   func(c *call) error { return c.text(http.StatusOK, "ok\n") },
	},
	{
		method: "GET", path: "/readyz", id: "readyz", open: true, probe: true,
		zh: "可以接收文件", en: "Files can be taken in",
		answers: replies{http.StatusOK: {"ok", map[string]string{"text/plain": ""}},
			http.StatusServiceUnavailable: {"What is missing.", map[string]string{"text/plain": ""}}},
		serve: (*call).ready,
	},
}
