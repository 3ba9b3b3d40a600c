package autoconfig_test

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay/autoconfig"
)

func TestProfileIsStable(t *testing.T) {
	h := handler(t, relayOf(t, config(usual()...)), full())
	w := request(h, "GET", appleURL, "")
	if ct := w.Header().Get("Content-Type"); ct != "application/x-apple-aspen-config" {
		t.Errorf("type %s", ct)
	}
	if again := get(t, h, appleURL); again != w.Body.String() {
		t.Error("a second profile differs, so it would not replace the first")
	}
	other := get(t, h, strings.Replace(appleURL, "alice", "bob", 1))
	ids := regexp.MustCompile(`[0-9A-F]{8}-[0-9A-F]{4}-5[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}`)
	mine := ids.FindAllString(w.Body.String(), -1)
	if len(mine) != 4 {
		t.Fatalf("ids %q", mine)
	}
	for _, id := range mine {
		if strings.Contains(other, id) {
			t.Errorf(
				"%s is in the profile of another address as well, which would replace this one", id,
			)
		}
	}
	// RFC 9562 appendix A.4.
	if got := autoconfig.UUID5("www.example.com"); got != "2ED6657D-E927-568B-95E1-2665A8AEA6A2" {
		t.Errorf("UUID %s", got)
	}
}

// TestWithoutIncoming: mail programs reject Thunderbird's and Apple's format
// without a server to read from.
func TestWithoutIncoming(t *testing.T) {
	for name, opts := range map[string]autoconfig.Options{
		"none": {},
		"certificates": {
			Incoming: []autoconfig.Incoming{
				{Hostname: "imap.example.com", Mechanisms: []auth.Mechanism{auth.External}},
			},
		},
	} {
		h := handler(t, relayOf(t, config(usual()...)), opts)
		for _, url := range []string{thunderbirdURL, appleURL} {
			if w := request(h, "GET", url, ""); w.Code != 404 {
				t.Errorf("%s: %s: %d %s", name, url, w.Code, w.Body)
			}
		}
		for _, r := range h.Records("example.com") {
			if strings.HasPrefix(r.Name, "autoconfig.") {
				t.Errorf("%s: record %s", name, r)
			}
		}
	}
}

// TestProfileParses has two readers of property lists, and holds what they find
// against the keys that Apple documents.
func TestProfileParses(t *testing.T) {
	if testing.Short() {
		t.Skip("drives other programs, which -short leaves out")
	}
	h := handler(t, relayOf(t, config(usual()...)), full())
	for _, email := range append(odd(), "alice@example.com") {
		w := httptest.NewRecorder()
		q := httptest.NewRequest("GET", "https://relay.example.com/email.mobileconfig", nil)
		q.URL.RawQuery = "email=" + strings.NewReplacer(
			"&", "%26", "+", "%2B", ";", "%3B",
		).Replace(email)
		h.ServeHTTP(w, q)
		if w.Code != 200 {
			t.Fatalf("%s: %d", email, w.Code)
		}
		file := filepath.Join(t.TempDir(), "email.mobileconfig")
		if err := os.WriteFile(file, w.Body.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(
			"plistutil", "-i", file, "-o", file+".bin", "-f", "bin",
		).CombinedOutput(); err != nil {
			t.Errorf("%s: plistutil: %v\n%s", email, err, out)
		}
		const script = "import json, plistlib, sys\njson.dump(plistlib.load(open(sys.argv[1], " +
			"'rb')), sys.stdout)"
		var first map[string]any
		// as written, and as plistutil understood it
		for _, f := range []string{file, file + ".bin"} {
			out, err := exec.Command("python3", "-c", script, f).Output()
			if err != nil {
				t.Fatalf("%s: plistlib: %v", email, err)
			}
			var got map[string]any
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			checkProfile(t, email, got)
			if first == nil {
				first = got
			} else if a, b := first["PayloadIdentifier"], got["PayloadIdentifier"]; a != b {
				t.Errorf("%v, %v", a, b)
			}
		}
	}
}

// checkProfile knows the keys of https://github.com/apple/device-management:
// mdm/profiles/TopLevel.yaml and com.apple.mail.managed.yaml.
func checkProfile(t *testing.T, email string, p map[string]any) {
	t.Helper()
	str, boolean, number := "", false, 0.0
	check := func(what string, d map[string]any, keys map[string]any) {
		t.Helper()
		for k, kind := range keys {
			v, ok := d[k]
			if !ok {
				t.Errorf("%s: %s lacks %s", email, what, k)
			} else if a, b := jsonKind(v), jsonKind(kind); a != b {
				t.Errorf("%s: %s.%s is a %s, not a %s", email, what, k, a, b)
			}
		}
		for k := range d {
			if _, ok := keys[k]; !ok {
				t.Errorf("%s: %s has %s, which is not documented", email, what, k)
			}
		}
	}
	check("profile", p, map[string]any{
		"PayloadContent": []any{}, "PayloadDescription": str, "PayloadDisplayName": str,
		"PayloadIdentifier": str, "PayloadOrganization": str,
		"PayloadRemovalDisallowed": boolean, "PayloadType": str, "PayloadUUID": str,
		"PayloadVersion": number,
	})
	list, _ := p["PayloadContent"].([]any)
	if len(list) != 1 || p["PayloadType"] != "Configuration" || p["PayloadVersion"] != 1.0 {
		t.Fatalf("%s: %v", email, p)
	}
	account, _ := list[0].(map[string]any)
	check("account", account, map[string]any{
		"EmailAccountDescription": str, "EmailAccountType": str, "EmailAddress": str,
		"IncomingMailServerAuthentication": str, "IncomingMailServerHostName": str,
		"IncomingMailServerPortNumber": number,
		"IncomingMailServerUseSSL":     boolean, "IncomingMailServerUsername": str,
		"OutgoingMailServerAuthentication": str, "OutgoingMailServerHostName": str,
		"OutgoingMailServerPortNumber": number,
		"OutgoingMailServerUseSSL":     boolean, "OutgoingMailServerUsername": str,
		"OutgoingPasswordSameAsIncomingPassword": boolean,
		"PayloadDisplayName":                     str, "PayloadIdentifier": str,
		"PayloadOrganization": str, "PayloadType": str, "PayloadUUID": str,
		"PayloadVersion": number,
	})
	for k, want := range map[string]any{
		"EmailAddress": email, "OutgoingMailServerUsername": email,
		"EmailAccountDescription": "Example & Söhne <Mail>", "EmailAccountType": "EmailTypeIMAP",
		"IncomingMailServerHostName": "imap.example.com", "IncomingMailServerPortNumber": 993.0,
		"IncomingMailServerUseSSL":   true,
		"OutgoingMailServerHostName": "relay.example.com", "OutgoingMailServerPortNumber": 465.0,
		"OutgoingMailServerUseSSL":         true,
		"OutgoingMailServerAuthentication": "EmailAuthPassword",
		"PayloadType":                      "com.apple.mail.managed",
	} {
		if account[k] != want {
			t.Errorf("%s: %s is %v, want %v", email, k, account[k], want)
		}
	}
}

func jsonKind(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case float64:
		return "number"
	default:
		return "list"
	}
}
