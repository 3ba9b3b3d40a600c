package postern_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestInvariantsAreShown holds docs/invariants.md to the tests there are: a row
// whose test has gone or has another name shows nothing.
func TestInvariantsAreShown(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/invariants.md")
	if err != nil {
		t.Fatal(err)
	}
	known := testNames(t)
	for line := range strings.Lines(string(text)) {
		row := regexp.MustCompile(`^\| ([ISC]\d+) \|`).FindStringSubmatch(line)
		if row == nil {
			continue
		}
		shown := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(line, -1)
		if len(shown) == 0 {
			t.Errorf("no test shows %s", row[1])
		}
		for _, name := range shown {
			if !known[name[1]] {
				t.Errorf("%s names %s, which does not exist", row[1], name[1])
			}
		}
	}
}

// testNames returns the names of all test functions of the repository.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	fset := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git"):
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Test") {
				names[f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
