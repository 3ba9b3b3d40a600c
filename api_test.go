package postern_test

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExportedSignatures holds every exported signature to types of the
// standard library and of this module's exported packages: those who embed a
// relay must not be broken by the next version of a library behind it.
func TestExportedSignatures(t *testing.T) {
	t.Parallel()
	exports := map[string]string{}
	var public []string
	for _, p := range goList(t, "-export", "-deps", "./...") {
		exports[p.ImportPath] = p.Export
		if isOurs(p.ImportPath) && !isInternal(p.ImportPath) {
			public = append(public, p.ImportPath)
		}
	}
	compiled := importer.ForCompiler(token.NewFileSet(), "gc", func(importPath string) (
		io.ReadCloser, error,
	) {
		return os.Open(exports[importPath])
	})
	for _, importPath := range public {
		pkg, err := compiled.Import(importPath)
		if err != nil {
			t.Fatal(err)
		}
		check := signatureCheck{t: t, seen: map[types.Type]bool{}}
		for _, name := range pkg.Scope().Names() {
			if obj := pkg.Scope().Lookup(name); obj.Exported() {
				check.declared(pkg.Name()+"."+name, obj)
			}
		}
	}
}

func isOurs(importPath string) bool {
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

func isInternal(importPath string) bool {
	return strings.Contains(importPath+"/", "/internal/")
}

type signatureCheck struct {
	t    *testing.T
	seen map[types.Type]bool
}

// declared checks what an exported declaration shows: for a type its exported
// fields and methods too.
func (c *signatureCheck) declared(where string, obj types.Object) {
	named, ok := types.Unalias(obj.Type()).(*types.Named)
	if _, isType := obj.(*types.TypeName); !isType || !ok {
		c.shown(where, obj.Type())
		return
	}
	c.shown(where, named)
	c.shown(where, named.Underlying())
	for m := range named.Methods() {
		if m.Exported() {
			c.shown(where+"."+m.Name(), m.Type())
		}
	}
}

// shown reports types in t that belong to a package which those who embed a
// relay cannot or should not name.
func (c *signatureCheck) shown(where string, t types.Type) {
	if c.seen[t] {
		return
	}
	c.seen[t] = true
	switch t := t.(type) {
	case *types.Alias:
		c.shown(where, types.Unalias(t))
	case *types.Named:
		if pkg := t.Obj().Pkg(); pkg != nil {
			switch importPath := pkg.Path(); {
			case isOurs(importPath) && isInternal(importPath),
				!isOurs(importPath) && !isStandard(importPath):
				c.t.Errorf("%s shows %s", where, t)
			}
		}
		for arg := range t.TypeArgs().Types() {
			c.shown(where, arg)
		}
	case *types.Struct:
		for f := range t.Fields() {
			if f.Exported() {
				c.shown(where+"."+f.Name(), f.Type())
			}
		}
	case *types.Interface:
		for m := range t.Methods() {
			c.shown(where+"."+m.Name(), m.Type())
		}
	case *types.Signature:
		c.shown(where, t.Params())
		c.shown(where, t.Results())
	case *types.Tuple:
		for v := range t.Variables() {
			c.shown(where, v.Type())
		}
	case *types.Map:
		c.shown(where, t.Key())
		c.shown(where, t.Elem())
	case interface{ Elem() types.Type }: // pointer, slice, array, channel
		c.shown(where, t.Elem())
	}
}

// TestNoGlobalState keeps two relays in one process apart: no init functions,
// no exit, and at package level no variables but errors, compiled patterns,
// embedded files and what is read from them once, pools and fixed arrays.
func TestNoGlobalState(t *testing.T) {
	t.Parallel()
	fset := token.NewFileSet()
	for _, p := range goList(t, "./...") {
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(
				fset, filepath.Join(p.Dir, name), nil, parser.ParseComments,
			)
			if err != nil {
				t.Fatal(err)
			}
			for _, fault := range globalState(file) {
				t.Errorf("%s: %s", fset.Position(fault.at), fault.what)
			}
		}
	}
}

type fault struct {
	at   token.Pos
	what string
}

func globalState(file *ast.File) []fault {
	var faults []fault
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				faults = append(faults, fault{d.Pos(), "func init"})
			}
		case *ast.GenDecl:
			if d.Tok != token.VAR {
				continue
			}
			for _, spec := range d.Specs {
				v := spec.(*ast.ValueSpec)
				for i, name := range v.Names {
					if name.Name != "_" && !isConstant(d, v, i) {
						faults = append(
							faults,
							fault{
								name.Pos(), fmt.Sprintf("variable %s at package level", name.Name),
							},
						)
					}
				}
			}
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			switch name := types.ExprString(s); name {
			case "os.Exit", "http.DefaultServeMux", "http.Handle", "http.HandleFunc",
				"http.DefaultClient":
				faults = append(faults, fault{s.Pos(), name})
			}
		}
		return true
	})
	return faults
}

// isConstant tells whether the i-th variable of v is one that nothing has
// reason to change.
func isConstant(d *ast.GenDecl, v *ast.ValueSpec, i int) bool {
	if hasEmbed(d.Doc) || hasEmbed(v.Doc) {
		return true
	}
	if i >= len(v.Values) {
		return false
	}
	switch value := v.Values[i].(type) {
	case *ast.CallExpr:
		switch types.ExprString(value.Fun) {
		case "errors.New", "fmt.Errorf", "regexp.MustCompile", "sync.OnceValue":
			return true
		}
	case *ast.UnaryExpr: // an error with fields
		lit, ok := value.X.(*ast.CompositeLit)
		return ok && value.Op == token.AND && strings.HasSuffix(types.ExprString(lit.Type), "Error")
	case *ast.CompositeLit:
		switch typ := value.Type.(type) {
		case *ast.ArrayType:
			return typ.Len != nil && !v.Names[i].IsExported()
		case *ast.SelectorExpr:
			return types.ExprString(typ) == "sync.Pool"
		}
	}
	return false
}

func hasEmbed(doc *ast.CommentGroup) bool {
	if doc == nil {
		return false
	}
	for _, c := range doc.List {
		if strings.HasPrefix(c.Text, "//go:embed") {
			return true
		}
	}
	return false
}
