package postern_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Log lines name the same thing by the same key everywhere.
func TestLogKeys(t *testing.T) {
	instead := map[string]string{
		"error": "err", "id": "queue_id", "message_id": "queue_id", "session_id": "session",
	}
	err := filepath.WalkDir("relay", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !isLogCall(call) {
				return true
			}
			for _, arg := range call.Args[1:] {
				key, ok := literal(arg)
				if want := instead[key]; ok && want != "" {
					t.Errorf("%s: %q in a log line, write %q", files.Position(arg.Pos()), key, want)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// isLogCall reports whether a method named as slog's is called with a message
// that is spelt out.
func isLogCall(call *ast.CallExpr) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) < 2 {
		return false
	}
	switch f.Sel.Name {
	case "Debug", "Info", "Warn", "Error":
		_, ok := literal(call.Args[0])
		return ok
	}
	return false
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

// TestLogKeysAreListed holds the overview of package relay to the keys that its
// lines have.
func TestLogKeysAreListed(t *testing.T) {
	t.Parallel()
	overview, err := os.ReadFile(filepath.Join("relay", "doc.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(overview), "\n// # Log\n")
	known := regexp.MustCompile(`\w+`).FindAllString(list, -1)
	file, err := parser.ParseFile(
		token.NewFileSet(), filepath.Join("relay", "internal", "logkey", "logkey.go"), nil, 0,
	)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		value, ok := n.(*ast.BasicLit)
		if !ok {
			return true
		}
		if key, ok := literal(value); ok && !slices.Contains(known, key) {
			t.Errorf("relay/doc.go does not list the log key %q", key)
		}
		return true
	})
}
