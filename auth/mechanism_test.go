package auth_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/postern-mail/postern/auth"
)

func ExampleMechanism() {
	var m auth.Mechanism
	fmt.Println(m.UnmarshalText([]byte("scram-sha-256")), m, m.ShowsSecret())
	fmt.Println(m.UnmarshalText([]byte("CRAM-MD5")))
	// Output:
	// <nil> SCRAM-SHA-256 false
	// auth: unknown mechanism "CRAM-MD5"
}

func TestMechanismText(t *testing.T) {
	t.Parallel()
	for _, m := range []auth.Mechanism{
		auth.External, auth.ScramSHA256Plus, auth.ScramSHA256, auth.OAuthBearer, auth.XOAuth2,
		auth.Plain, auth.Login, "",
	} {
		text, err := json.Marshal(m)
		var back auth.Mechanism
		if err != nil || json.Unmarshal(text, &back) != nil || back != m {
			t.Errorf("%q became %s, %q, %v", m, text, back, err)
		}
	}
	if text, err := json.Marshal(auth.Mechanism("plain")); err == nil {
		t.Errorf("a name that no server knows became %s", text)
	}
}
