package autoconfig_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/autoconfig"
)

// TestSchemas holds the XML answers against schemas, as xmllint understands
// them.
func TestSchemas(t *testing.T) {
	r := relayOf(t, config(usual()...))
	for name, opts := range map[string]autoconfig.Options{
		"full": full(), "bare": {Incoming: full().Incoming[:1]},
		"local part": {LocalPart: true, Incoming: full().Incoming},
	} {
		t.Run(name, func(t *testing.T) {
			h := handler(t, r, opts)
			validate(t, "clientconfig.rng", get(t, h, thunderbirdURL))
			for _, email := range append(odd(), "alice@example.com") {
				validate(
					t, "autodiscover.rng", request(h, "POST", outlookURL, ask(email)).Body.String(),
				)
			}
		})
	}
}

// validate holds a document against a schema in testdata.
func validate(t *testing.T, schema, document string) {
	t.Helper()
	if testing.Short() {
		return // it takes another program
	}
	cmd := exec.Command(
		"xmllint", "--noout", "--nonet", "--relaxng", filepath.Join("testdata", schema), "-",
	)
	cmd.Stdin = strings.NewReader(document)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("xmllint: %v\n%s\n%s", err, out, document)
	}
}
