package peertest_test

import (
	"context"
	"strings"
	"testing"
)

// gsasl logs on with GNU SASL, and ends the session.
func gsasl(
	ctx context.Context, g *gateway, mechanism, password string, more ...string,
) (string, error) {
	args := []string{
		"--smtp", "--connect=localhost:" + g.ports["STARTTLS"], "--starttls", "--verbose",
		"--x509-ca-file=" + g.path("ca.pem"), "--mechanism=" + mechanism,
		"--authentication-id=" + user, "--authorization-id=", "--password=" + password,
	}
	return output(ctx, strings.NewReader("QUIT\r\n"), "gsasl", append(args, more...)...)
}

// TestGSASL logs on by all mechanisms that GNU SASL and the relay know, bound
// to the channel and not.
func TestGSASL(t *testing.T) {
	t.Parallel()
	g := embed(t, newSink(t))
	try := func(name, mechanism, password, reply string, more ...string) {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			text, err := gsasl(ctx, g, mechanism, password, more...)
			if !strings.Contains(text, "\n"+reply+" ") {
				t.Errorf("want %s: %v\n%s", reply, err, text)
			}
		})
	}
	// Where it can bind to the channel it takes no mechanism that does not.
	for m, more := range map[string][]string{
		"PLAIN": nil, "LOGIN": nil, "SCRAM-SHA-256": {"--no-cb"}, "SCRAM-SHA-256-PLUS": nil,
	} {
		try(m, m, password, "235", more...)
		try(m+" wrong password", m, "wrong", "535", more...)
	}
	try("EXTERNAL", "EXTERNAL", "", "235",
		"--x509-cert-file="+g.path(user+".pem"), "--x509-key-file="+g.path(user+".key"))
	try("EXTERNAL by nobody", "EXTERNAL", "", "535",
		"--x509-cert-file="+g.path(nobody+".pem"), "--x509-key-file="+g.path(nobody+".key"))
}
