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

// TestLinksOfDocuments holds the links in documents to the files there are. One
// to a Go file whose text is the name of a declaration must find it there.
func TestLinksOfDocuments(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile("\\[(`?)([^]`]*)`?\\]\\(([^)#:]+)\\)")
	for _, doc := range documents(t) {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			target := filepath.Join(filepath.Dir(doc), filepath.FromSlash(m[3]))
			info, err := os.Stat(target)
			switch {
			case err != nil:
				t.Errorf("%s: %v", doc, err)
			case m[1] == "" || info.IsDir() || filepath.Ext(target) != ".go":
			case !declares(t, target, m[2]):
				t.Errorf("%s: %s does not declare %s", doc, target, m[2])
			}
		}
	}
}

// documents are the files that are read beside the code.
func documents(t *testing.T) []string {
	t.Helper()
	list := []string{"README.md", "CONTRIBUTING.md", filepath.Join("examples", "README.md")}
	for _, pattern := range []string{"docs/*.md", "docs/adr/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, found...)
	}
	return list
}

// declares reports whether a Go file declares a name, or Type.Method. Names of
// files, commands and others with a letter that no name has pass.
func declares(t *testing.T, file, name string) bool {
	t.Helper()
	if !regexp.MustCompile(`^\w+(\.\w+)?$`).MatchString(name) || strings.HasSuffix(name, ".go") {
		return true
	}
	parsed, err := parser.ParseFile(
		token.NewFileSet(), file, nil, parser.SkipObjectResolution,
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range parsed.Decls {
		for _, declared := range namesOf(decl) {
			if declared == name {
				return true
			}
		}
	}
	return false
}

// namesOf returns what a declaration names, methods as Type.Method.
func namesOf(decl ast.Decl) (names []string) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			return []string{d.Name.Name}
		}
		on := d.Recv.List[0].Type
		if star, ok := on.(*ast.StarExpr); ok {
			on = star.X
		}
		if ident, ok := on.(*ast.Ident); ok {
			names = append(names, ident.Name+"."+d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				names = append(names, s.Name.Name)
			case *ast.ValueSpec:
				for _, ident := range s.Names {
					names = append(names, ident.Name)
				}
			}
		}
	}
	return names
}
