package shacrypt_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	crypt "github.com/go-crypt/crypt/algorithm/shacrypt"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/auth/shacrypt"
)

// Made by OpenSSL's passwd and by glibc's crypt.
const (
	sha512 = `$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJ` +
		`uesI68u4OTLiBFdcbYEdFCoEOfaS35inz1`
	sha256       = `$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5`
	sha512Rounds = `$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3` +
		`Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.`
	sha512Secret = `$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGf` +
		`Qv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.`
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		hash, password string
		want, fault    bool
	}{
		{sha512, "Hello world!", true, false},
		{sha512, "Hello world", false, false},
		{sha512, "", false, false},
		{sha512, strings.Repeat("x", 512), false, false},
		{long(t, 512), strings.Repeat("x", 512), true, false},
		{long(t, 513), strings.Repeat("x", 513), false, false},
		{sha256, "Hello world!", true, false},
		{sha512Rounds, "Hello world!", true, false},
		{sha512Rounds, "hello world!", false, false},
		{sha512Secret, "secret", true, false},
		{strings.Replace(sha512Rounds, "10000", "1000001", 1), "x", false, true},
		{strings.Replace(sha512Rounds, "10000", "99999999999999999999", 1), "x", false, true},
		{strings.Replace(sha512Rounds, "10000", "x", 1), "x", false, true},
		{"", "x", false, true},
		{"$6$", "x", false, true},
		{"$6$hunter2", "x", false, true},
		{"$6$salt$hunter2", "hunter2", false, false},
		{"$1$salt$hunter2", "hunter2", false, true},
		{"hunter2", "hunter2", false, true},
	} {
		got, err := shacrypt.Match(tt.hash, tt.password)
		if got != tt.want || (err != nil) != tt.fault ||
			err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q against %s: %v, %v", tt.password, tt.hash, got, err)
		}
	}
}

// long is the hash of a password of n octets.
func long(t *testing.T, n int) string {
	t.Helper()
	h, err := crypt.New(crypt.WithSHA512())
	if err != nil {
		t.Fatal(err)
	}
	digest, err := h.Hash(strings.Repeat("x", n))
	if err != nil {
		t.Fatal(err)
	}
	return digest.Encode()
}

func FuzzMatch(f *testing.F) {
	f.Add(sha512, "Hello world!")
	f.Add(sha256, "x")
	f.Add(sha512Rounds, "x")
	f.Fuzz(func(t *testing.T, hash, password string) {
		if match, err := shacrypt.Match(hash, password); match && err != nil {
			t.Error(err)
		}
	})
}

func ExampleMatch() {
	dir, err := os.MkdirTemp("", "shacrypt")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "users")
	if err := os.WriteFile(path, []byte("anna:"+sha512Secret+"\n"), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	hasher := auth.NewHasher(&auth.HasherOptions{Other: shacrypt.Match})
	v, err := auth.OpenHtpasswd(path, &auth.HtpasswdOptions{Hasher: hasher})
	if err != nil {
		fmt.Println(err)
		return
	}
	id, err := v.Verify(
		context.Background(), auth.Proof{Username: "anna", Password: "secret"},
	)
	fmt.Println(id.User, err)
	// Output: anna <nil>
}
