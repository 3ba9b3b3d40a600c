package delivery_test

import (
	"testing"

	"github.com/postern-mail/postern/relay/delivery"
)

// A provider has what is under the ends of names that it lists, and nothing
// that only looks like it.
func TestProviderHasExchangers(t *testing.T) {
	p := delivery.Provider{Exchangers: []string{"google.com", "aspmx.example"}}
	for name, want := range map[string]bool{
		"google.com": true, "aspmx.l.google.com": true, "ALT1.ASPMX.L.Google.com.": true,
		"mx.aspmx.example": true, "notgoogle.com": false, "google.com.example": false,
		"com": false, "": false, ".google.com": true,
	} {
		if p.Has(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
