package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestLogsHaveOneShape: a constant message in lower case without a full stop,
// then pairs of a constant key and a value. What differs from line to line is a
// value, so that lines can be counted by their message.
func TestLogsHaveOneShape(t *testing.T) {
	key, message := regexp.MustCompile(`^[a-z][a-z_]*$`), regexp.MustCompile(`^(\p{Ll}|[A-Z]{2}).*[^.]$`)
	top, lines := root(t), 0
	goFiles(t, func(path string, imports []string) {
		if strings.HasSuffix(path, "_test.go") || !strings.HasPrefix(path, "cmd/duiwu/") && !strings.HasPrefix(path, "ingest/") &&
			!strings.HasPrefix(path, "sink/") && !strings.HasPrefix(path, "internal/flow/") {
			return
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, filepath.Join(top, path), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		text := func(e ast.Expr) (string, bool) {
			lit, ok := e.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return "", false
			}
			s, err := strconv.Unquote(lit.Value)
			return s, err == nil
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !strings.Contains(" Debug Info Warn Error ", " "+method.Sel.Name+" ") || !ofLogger(method.X) {
				return true
			}
			lines++
			at := fset.Position(call.Pos())
			if s, ok := text(call.Args[0]); !ok || !message.MatchString(s) {
				t.Errorf("%s:%d: the message of a log line is a constant in lower case without a full stop", path, at.Line)
			}
			pairs := call.Args[1:]
			if call.Ellipsis.IsValid() {
				return true
			}
			if len(pairs)%2 != 0 {
				t.Errorf("%s:%d: a log line holds pairs of a key and a value", path, at.Line)
			}
			for i := 0; i < len(pairs); i += 2 {
				if s, ok := text(pairs[i]); !ok || !key.MatchString(s) {
					t.Errorf("%s:%d: key %d of a log line is no constant in snake_case", path, at.Line, i/2+1)
				}
			}
			return true
		})
	})
	if lines < 20 {
		t.Fatalf("only %d log lines found: the walk is broken", lines)
	}
}

// ofLogger says whether an expression is a logger, by its name.
func ofLogger(e ast.Expr) bool {
	switch x := e.(type) {
	case *ast.Ident:
		return strings.EqualFold(x.Name, "log")
	case *ast.SelectorExpr:
		return strings.EqualFold(x.Sel.Name, "log")
	}
	return false
}
