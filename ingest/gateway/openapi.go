package gateway

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/duiwu/duiwu/internal/feed"
)

// schemas holds the JSON schemas of what is answered. They are strict, so that
// a test which validates answers finds a field that the document does not know.
//
//go:embed schemas.json
var schemas []byte

type object = map[string]any

// parameters by name; those that stand in a path are found there.
func parameters(cat *feed.Catalogue) map[string]object {
	var feeds, units []string
	for _, s := range cat.Feeds {
		feeds = append(feeds, s.Feed)
	}
	for i := range cat.Units {
		if u := &cat.Units[i]; u.Reports || u.National() {
			units = append(units, u.Code)
		}
	}
	in := func(place, name, en string, schema object) object {
		return object{"name": name, "in": place, "required": place == "path", "description": en, "schema": schema}
	}
	str := func(more object) object {
		out := object{"type": "string"}
		maps.Copy(out, more)
		return out
	}
	return map[string]object{
		"unit":   in("path", "unit", "Code of the reporting unit.", str(object{"enum": units})),
		"feed":   in("path", "feed", "Name of the feed.", str(object{"enum": feeds})),
		"batch":  in("path", "batch", "The batch id.", str(object{"pattern": batchPattern})),
		"as_of":  in("query", "as_of", "effective_from of the rows that say none; today without it.", str(object{"format": "date"})),
		"rows":   in("query", "rows", "How many rows that have findings are given back with their cells, for the sender to mend; at most 500.", object{"type": "integer", "minimum": 0, "maximum": maxShown}),
		"format": in("query", "format", "json, or csv for rejects, or xlsx for check.", str(object{"enum": []string{"json", "csv", "xlsx"}})),
		"months": in("query", "months", "How many months back; 13 without it, at most 36.", object{"type": "integer", "minimum": 1, "maximum": maxMonths}),
		"Idempotency-Key": in("header", "Idempotency-Key",
			"The batch id, chosen by the sender. Sending again with the same key after a cut line is the same batch; another content under the same key is refused. Without it each request is a delivery of its own.",
			str(object{"pattern": batchPattern})),
		"Content-Encoding": in("header", "Content-Encoding", "gzip or zstd.", str(object{"enum": []string{"gzip", "zstd"}})),
		"Content-Digest":   in("header", "Content-Digest", "RFC 9530, sha-256=:base64:, of the bytes as sent; compared with what arrived.", str(nil)),
	}
}

// document writes the OpenAPI document of the routes.
func document(cat *feed.Catalogue) []byte {
	var components object
	if err := json.Unmarshal(schemas, &components); err != nil {
		panic("BUG: schemas.json: " + err.Error())
	}
	params := parameters(cat)
	paths := map[string]object{}
	for i := range routes {
		rt := &routes[i]
		op := object{"operationId": rt.id, "summary": rt.zh + " " + rt.en}
		var list []object
		for part := range strings.SplitSeq(rt.path, "/") {
			if strings.HasPrefix(part, "{") {
				list = append(list, params[strings.Trim(part, "{}")])
			}
		}
		for _, name := range rt.params {
			p, ok := params[name]
			if !ok {
				panic("BUG: route " + rt.id + " names the unknown parameter " + name)
			}
			list = append(list, p)
		}
		if list != nil {
			op["parameters"] = list
		}
		if rt.open {
			op["security"] = []object{}
		}
		if rt.body {
			content := object{}
			for _, media := range slices.Sorted(maps.Keys(contentTypes)) {
				if media != "" {
					content[media] = object{}
				}
			}
			op["requestBody"] = object{"required": true, "description": "The file itself. The first bytes decide its format; a Content-Type that says otherwise is refused.", "content": content}
		}
		answers := object{}
		for status, a := range rt.answers {
			one := object{"description": a.en}
			content := object{}
			for media, schema := range a.types {
				content[media] = object{}
				if schema != "" {
					content[media] = object{"schema": object{"$ref": "#/components/schemas/" + schema}}
				}
			}
			one["content"] = content
			answers[strconv.Itoa(status)] = one
		}
		answers["default"] = object{"description": "Any other trouble.", "content": object{"application/problem+json": object{"schema": object{"$ref": "#/components/schemas/Problem"}}}}
		op["responses"] = answers
		if paths[rt.path] == nil {
			paths[rt.path] = object{}
		}
		paths[rt.path][strings.ToLower(rt.method)] = op
	}
	out, err := json.MarshalIndent(object{
		"openapi":           "3.1.0",
		"jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
		"info": object{
			"title": "Duiwu 队伍 数据报送网关 gateway", "version": "1",
			"description": "Reporting units send the files of their feeds, check them first, and read what became of them. Problems are RFC 9457 with message_zh and message_en.",
		},
		"servers":  []object{{"url": "/"}},
		"security": []object{{"bearer": []string{}}, {"certificate": []string{}}},
		"paths":    paths,
		"components": object{
			"schemas": components,
			"securitySchemes": object{
				"bearer":      object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "RS256, ES256 or EdDSA; the units stand in a claim."},
				"certificate": object{"type": "mutualTLS", "description": "The unit stands in the client certificate's subject or SAN."},
			},
		},
	}, "", " ")
	if err != nil {
		panic(fmt.Sprintf("BUG: the OpenAPI document: %v", err))
	}
	return append(out, '\n')
}
