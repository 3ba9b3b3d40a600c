package autoconfig_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/autoconfig"
)

func TestOutlook(t *testing.T) {
	h := handler(t, relayOf(t, config(usual()...)), full())
	w := request(
		h, "POST", "https://example.com/Autodiscover/AutoDiscover.xml", ask("alice@example.com"),
	)
	if w.Code != 200 {
		t.Fatal(w.Code)
	}
	var answer struct {
		XMLName  xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Autodiscover"`
		Response struct {
			XMLName  xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a Response"`
			Protocol []struct {
				Type, Server, LoginName, SPA, SSL, Encryption, AuthRequired string
				Port                                                        int
			} `xml:"Account>Protocol"`
		}
	}
	if err := xml.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range answer.Response.Protocol {
		if p.LoginName != "alice@example.com" || p.SPA != "off" || p.SSL != "on" ||
			p.AuthRequired != "on" {
			t.Errorf("%+v", p)
		}
		got = append(got, strings.Join([]string{p.Type, p.Server, p.Encryption}, " "))
	}
	want := []string{
		"IMAP imap.example.com SSL", "POP3 pop.example.com TLS", "SMTP relay.example.com SSL",
		"SMTP relay.example.com TLS",
	}
	if !slices.Equal(got, want) {
		t.Errorf("protocols %q", got)
	}
}

// TestOutlookErrors are answers with status 200, since clients take others for
// the lack of Autodiscover.
func TestOutlookErrors(t *testing.T) {
	h := handler(t, relayOf(t, config(usual()...)), full())
	for name, c := range map[string]struct {
		body string
		code string
	}{
		"unknown domain":  {ask("alice@example.net"), "500"},
		"address literal": {ask("alice@[192.0.2.1]"), "500"},
		"no address":      {ask(""), "600"},
		"bad address":     {ask("alice"), "600"},
		"two addresses": {
			strings.Replace(
				ask("a@example.com"), "</EMailAddress>",
				"</EMailAddress><EMailAddress>b@example.com</EMailAddress>", 1,
			),
			"600",
		},
		"nothing":   {"", "600"},
		"no XML":    {"alice@example.com", "600"},
		"cut off":   {ask("alice@example.com")[:300], "600"},
		"two roots": {ask("a@example.com") + "<Autodiscover/>", "601"},
		"document type": {
			strings.Replace(
				ask("a@example.com"), "<Autodiscover",
				`<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><Autodiscover`, 1,
			),
			"600",
		},
		"entity": {strings.Replace(ask("EE"), "EE", "&e;@example.com", 1), "600"},
		"deep": {
			strings.Replace(
				ask("a@example.com"), "<Request>",
				strings.Repeat("<a>", 100)+strings.Repeat("</a>", 100)+"<Request>", 1,
			),
			"600",
		},
		"too long":       {ask("a@example.com") + strings.Repeat(" ", 1<<20), "600"},
		"element within": {strings.Replace(ask("a@example.com"), "a@", "<b>x</b>a@", 1), "600"},
		"ActiveSync": {
			strings.ReplaceAll(
				ask("a@example.com"), "outlook/responseschema/2006a",
				"mobilesync/responseschema/2006",
			),
			"601",
		},
		"foreign request": {
			strings.ReplaceAll(
				ask("a@example.com"), "outlook/requestschema/2006", "mobilesync/requestschema/2006",
			),
			"601",
		},
		"foreign encoding": {strings.Replace(ask("a@example.com"), "utf-8", "utf-16", 1), "600"},
	} {
		t.Run(name, func(t *testing.T) {
			w := request(h, "POST", outlookURL, c.body)
			if w.Code != 200 ||
				!strings.Contains(w.Body.String(), "<ErrorCode>"+c.code+"</ErrorCode>") {
				t.Errorf("%d %s, want code %s", w.Code, w.Body, c.code)
			}
			validate(t, "autodiscover.rng", w.Body.String())
		})
	}
}

func TestOutlookJSON(t *testing.T) {
	h := handler(t, relayOf(t, config(usual()...)), full())
	for _, c := range []struct {
		url    string
		status int
		want   map[string]string
	}{
		{
			jsonURL, 200,
			map[string]string{
				"Protocol": "AutodiscoverV1",
				"Url":      "https://relay.example.com/autodiscover/autodiscover.xml",
			},
		},
		{"https://evil.example/AutoDiscover/AutoDiscover.json?Email=bob@example.com&protocol=autodiscoverv1", 200,
			map[string]string{
				"Protocol": "AutodiscoverV1",
				"Url":      "https://relay.example.com/autodiscover/autodiscover.xml",
			}},
		{"https://a.example/autodiscover/autodiscover.json/v1.0/alice@example.com?Protocol=ActiveSync", 400,
			map[string]string{"ErrorCode": "InvalidProtocol"}},
		{"https://a.example/autodiscover/autodiscover.json/v1.0/alice@example.com", 400,
			map[string]string{"ErrorCode": "MandatoryParameterMissing"}},
		{"https://a.example/autodiscover/autodiscover.json/v1.0/alice?Protocol=AutodiscoverV1", 400,
			map[string]string{"ErrorCode": "MandatoryParameterMissing"}},
		{
			"https://a.example/autodiscover/autodiscover.json", 400,
			map[string]string{"ErrorCode": "MandatoryParameterMissing"},
		},
		{"https://a.example/autodiscover/autodiscover.json/v1.0/alice@example.net?Protocol=AutodiscoverV1", 404,
			map[string]string{"ErrorCode": "UserNotFound"}},
	} {
		w := request(h, "GET", c.url, "")
		var got map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v", c.url, err)
		}
		delete(got, "ErrorMessage")
		if w.Code != c.status || len(got) != len(c.want) {
			t.Errorf("%s: %d %v, want %d %v", c.url, w.Code, got, c.status, c.want)
		}
		for k, v := range c.want {
			if got[k] != v {
				t.Errorf("%s: %v, want %v", c.url, got, c.want)
			}
		}
	}
}

func FuzzAutodiscover(f *testing.F) {
	f.Add([]byte(ask("alice@example.com")))
	f.Add([]byte(ask(`"<&>"@example.com`)))
	f.Add(
		[]byte(
			"<Autodiscover xmlns='http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006'><Request/></Autodiscover>",
		),
	)
	f.Add([]byte("<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>"))
	r, err := relay.New(config(usual()...))
	if err != nil {
		f.Fatal(err)
	}
	opts := full()
	h, err := autoconfig.New(r, &opts)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		email, err := autoconfig.ReadRequest(bytes.NewReader(body))
		if err != nil && err != autoconfig.ErrRequest && err != autoconfig.ErrSchema ||
			(err == nil) != (email != "") {
			t.Fatalf("%q %v", email, err)
		}
		if err == nil {
			if again, err := autoconfig.ReadRequest(strings.NewReader(ask(email))); err != nil ||
				again != email {
				t.Fatalf("%q is read back as %q, %v", email, again, err)
			}
		}
		w := request(h, "POST", outlookURL, string(body))
		var answer struct {
			XMLName xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Autodiscover"`
			Login   []string `xml:"Response>Account>Protocol>LoginName"`
			Code    []int    `xml:"Response>Error>ErrorCode"`
		}
		if err := xml.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
			t.Fatalf("%d %v\n%s", w.Code, err, w.Body)
		}
		if len(answer.Login) == 4 == (len(answer.Code) == 1) {
			t.Fatalf("neither settings nor an error:\n%s", w.Body)
		}
		for _, login := range answer.Login {
			if login != email {
				t.Fatalf("settings for %q, asked for %q", login, email)
			}
		}
	})
}
