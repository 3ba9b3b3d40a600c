package postern_test

import (
	"bytes"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	// maxCircle is how many files may need each other in a circle.
	maxCircle = 3
	maxLines  = 400
)

// crowded are the packages that are still being parted, and the files that are
// still being split. The list only gets shorter.
var crowded = [...]string{
	"relay/internal/simtest",
	"relay/spool/filespool",
}

// TestCircles finds files of a package that need each other in a circle:
// whoever reads one of them has to read all.
func TestCircles(t *testing.T) {
	t.Parallel()
	exports := map[string]string{}
	packages := goList(t, "-export", "-deps", "./relay/...")
	for _, p := range packages {
		exports[p.ImportPath] = p.Export
	}
	for _, p := range packages {
		if !strings.HasPrefix(p.rel(), "relay") || slices.Contains(crowded[:], p.rel()) {
			continue
		}
		for _, circle := range circles(usesOf(t, p, exports)) {
			if len(circle) > maxCircle {
				t.Errorf("%s: %d files need each other: %s", p.rel(), len(circle),
					strings.Join(circle, ", "))
			}
		}
	}
}

// usesOf returns, for each file of a package, the files whose declarations and
// methods it uses.
func usesOf(t *testing.T, p goPackage, exports map[string]string) map[string][]string {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range p.GoFiles {
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	check := types.Config{Importer: importer.ForCompiler(fset, "gc", func(importPath string) (
		io.ReadCloser, error,
	) {
		return os.Open(exports[importPath])
	})}
	pkg, err := check.Check(p.ImportPath, fset, files, info)
	if err != nil {
		t.Fatal(err)
	}
	uses := make(map[string][]string)
	for ident, obj := range info.Uses {
		if obj.Pkg() != pkg || !isDeclaration(pkg, obj) {
			continue
		}
		from, to := fileOf(fset, ident.Pos()), fileOf(fset, obj.Pos())
		if from != to && !slices.Contains(uses[from], to) {
			uses[from] = append(uses[from], to)
		}
	}
	return uses
}

// isDeclaration reports whether an object is declared at package level, or a
// method.
func isDeclaration(pkg *types.Package, obj types.Object) bool {
	if f, ok := obj.(*types.Func); ok {
		return f.Pkg() == pkg
	}
	return obj.Parent() == pkg.Scope()
}

func fileOf(fset *token.FileSet, pos token.Pos) string {
	return filepath.Base(fset.Position(pos).Filename)
}

// circles returns the strongly connected components of a graph (Tarjan).
func circles(graph map[string][]string) [][]string {
	c := tarjan{graph: graph, index: map[string]int{}, low: map[string]int{}}
	nodes := make([]string, 0, len(graph))
	for n := range graph {
		nodes = append(nodes, n)
	}
	slices.Sort(nodes)
	for _, n := range nodes {
		if _, seen := c.index[n]; !seen {
			c.visit(n)
		}
	}
	return c.found
}

type tarjan struct {
	graph      map[string][]string
	index, low map[string]int
	stack      []string
	found      [][]string
}

func (c *tarjan) visit(n string) {
	c.index[n] = len(c.index)
	c.low[n] = c.index[n]
	c.stack = append(c.stack, n)
	for _, next := range c.graph[n] {
		if i, seen := c.index[next]; !seen {
			c.visit(next)
			c.low[n] = min(c.low[n], c.low[next])
		} else if slices.Contains(c.stack, next) {
			c.low[n] = min(c.low[n], i)
		}
	}
	if c.low[n] == c.index[n] {
		i := slices.Index(c.stack, n)
		circle := slices.Clone(c.stack[i:])
		slices.Sort(circle)
		c.found, c.stack = append(c.found, circle), c.stack[:i]
	}
}

// TestFileLength finds files that are too long to be read at a sitting.
func TestFileLength(t *testing.T) {
	t.Parallel()
	err := filepath.WalkDir("relay", func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") {
			return err
		}
		name = filepath.ToSlash(name)
		text, err := os.ReadFile(name)
		n := bytes.Count(text, []byte{'\n'})
		if n > maxLines && !slices.Contains(crowded[:], name) {
			t.Errorf("%s: %d lines, at most %d", name, n, maxLines)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
