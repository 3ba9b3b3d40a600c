package postern_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/postern-mail/postern"

// allowed names what the packages of a row import besides the standard library.
// Paths are relative to the module, whose root is "."; "x/..." is x and all
// below it. A package
// that stands in no row is a fault, so that a new one gets its place in the
// house.
var allowed = map[string][]string{
	".": nil,

	// Policy and contract: usable alone, and strangers to each other but for
	// the root's FieldError.
	"connector": {"."},
	"domains":   {".", "golang.org/x/net/idna"},
	"auth": {
		".", "golang.org/x/crypto/argon2", "golang.org/x/crypto/bcrypt",
		"github.com/xdg-go/scram", "github.com/xdg-go/stringprep",
	},
	"auth/msgauth":          {".", "github.com/emersion/go-msgauth/..."},
	"connector/exchange":    {".", "connector", "domains"},
	"relay/bounce":          nil,
	"relay/event":           {"relay/bounce"},
	"relay/spool":           nil,
	"relay/spool/filespool": {"relay/spool"},
	"relay/spool/memspool":  {"relay/spool"},
	"relay/spool/spooltest": {"relay/spool"},
	"relay/spool/spoolmove": {"relay/spool"},

	"relay/delivery": {".", "connector", "domains", "relay/spool"},

	"relay/internal/header": nil,
	"relay/internal/dsn":    {"relay/delivery", "relay/internal/header", "relay/spool"},
	"relay/internal/sched": {
		"relay/bounce", "relay/spool", "relay/internal/callback", "relay/internal/logkey",
	},
	"relay/internal/throttle": {"relay/bounce", "relay/spool", "relay/internal/logkey"},
	"relay/internal/nodes":    {"relay/spool", "relay/internal/logkey"},
	"relay/internal/callback": nil,
	"relay/internal/logkey":   nil,
	"relay/internal/policy": {
		"auth", "connector", "domains", "relay/delivery", "relay/internal/callback",
		"relay/internal/logkey", "relay/spool",
	},
	"relay/internal/intake": {
		".", "auth", "auth/msgauth", "connector", "domains", "relay/internal/header",
		"relay/internal/logkey", "relay/internal/policy", "relay/internal/routing",
		"relay/internal/sevenbit", "relay/spool",
	},
	"relay/internal/smtpd": {
		"auth", "connector", "domains", "relay/internal/policy", "relay/spool",
		"github.com/pires/go-proxyproto",
		"relay/internal/callback", "relay/internal/logkey",
	},
	"relay/internal/attempt": {
		"auth/msgauth", "domains", "relay/bounce", "relay/delivery", "relay/event",
		"relay/internal/callback", "relay/internal/dsn", "relay/internal/logkey",
		"relay/internal/routing", "relay/spool",
	},
	"relay/internal/routing": {
		"connector", "domains", "relay/delivery", "relay/internal/outbound",
		"relay/internal/policy", "relay/spool",
	},
	"relay/internal/sevenbit": nil,
	"relay/internal/wiretest": nil,
	"relay/internal/dns": {
		"relay/delivery", "github.com/miekg/dns", "golang.org/x/net/idna",
	},
	"relay/internal/outbound": {
		"connector", "domains", "relay/delivery", "relay/internal/sevenbit", "relay/spool",
		"github.com/xdg-go/scram",
	},

	"relay": {
		".", "auth", "auth/msgauth", "connector", "domains", "relay/bounce", "relay/delivery",
		"relay/event", "relay/internal/...", "relay/spool", "github.com/hashicorp/go-multierror",
	},
	"relay/autoconfig": {".", "auth", "connector", "domains", "relay"},
	"relay/httpapi": {
		".", "auth", "connector", "domains", "relay", "relay/internal/httppeer", "relay/spool",
	},
	"relay/admin": {
		".", "auth", "connector", "domains", "relay", "relay/bounce", "relay/internal/httppeer",
		"relay/spool",
	},

	"relay/relaytest": {
		"relay", "relay/delivery", "relay/spool/memspool",
		"github.com/emersion/go-smtp", "github.com/emersion/go-sasl",
	},

	"relay/internal/httppeer": {"connector", "relay"},

	// A test of the whole, which nothing imports but tests.
	"relay/internal/simtest": {
		"relay/bounce",
		"connector", "domains", "relay", "relay/delivery", "relay/event", "relay/relaytest",
		"relay/spool",
	},
}

// required are the modules that the root may require, so that an application
// that embeds a relay takes on little.
var required = []string{
	"github.com/emersion/go-msgauth",
	"github.com/emersion/go-sasl",
	"github.com/emersion/go-smtp",
	"github.com/hashicorp/go-multierror",
	"github.com/miekg/dns",
	"github.com/pires/go-proxyproto",
	"blitiri.com.ar/go/spf",
	"github.com/xdg-go/scram",
	"github.com/xdg-go/stringprep", // which scram brings along
	"golang.org/x/crypto",
	"golang.org/x/net",
	"golang.org/x/time",
}

type goPackage struct {
	ImportPath string
	Name       string
	Dir        string
	Export     string // file of the compiled package
	GoFiles    []string
	Imports    []string
}

// rel is the package's path in the module.
func (p goPackage) rel() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

// goList runs go list -json with arguments.
func goList(t *testing.T, args ...string) []goPackage {
	t.Helper()
	var all []goPackage
	dec := json.NewDecoder(
		bytes.NewReader(goCommand(t, append([]string{"list", "-json"}, args...)...)),
	)
	for {
		var p goPackage
		switch err := dec.Decode(&p); {
		case err == io.EOF:
			return all
		case err != nil:
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func goCommand(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", args...).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go %s: %v\n%s", args[0], err, exit.Stderr)
		}
		t.Fatalf("go %s: %v", args[0], err)
	}
	return out
}

// TestImportDirection holds every package of the module to its row in allowed.
func TestImportDirection(t *testing.T) {
	t.Parallel()
	for _, p := range goList(t, "./...") {
		row, ok := allowed[p.rel()]
		if !ok {
			t.Errorf("%s has no row in the table of allowed imports", p.ImportPath)
			continue
		}
		for _, imported := range p.Imports {
			switch {
			case imported == "testing":
				if !strings.HasSuffix(p.Name, "test") {
					t.Errorf(
						"%s imports testing: only packages whose name ends in test may",
						p.ImportPath,
					)
				}
			case imported == "log" || imported == "flag" || imported == "expvar":
				t.Errorf(
					"%s imports %s, which works on state of the whole process", p.ImportPath,
					imported,
				)
			case !isStandard(imported) && !inRow(row, imported):
				t.Errorf("%s may not import %s", p.ImportPath, imported)
			}
		}
	}
}

func isStandard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

func inRow(row []string, importPath string) bool {
	return slices.ContainsFunc(row, func(r string) bool {
		if r == "." || isStandard(r) {
			r = path.Join(module, r)
		}
		if tree, ok := strings.CutSuffix(r, "/..."); ok {
			return importPath == tree || strings.HasPrefix(importPath, tree+"/")
		}
		return importPath == r
	})
}

// TestRequirements holds the root's go.mod to the modules it may require.
func TestRequirements(t *testing.T) {
	t.Parallel()
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(goCommand(t, "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	for _, m := range mod.Require {
		if !m.Indirect && !slices.Contains(required, m.Path) {
			t.Errorf("go.mod requires %s", m.Path)
		}
	}
}
