package relay_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay"
)

// pemPair returns a certificate for these names and its key.
func pemPair(t testing.TB, serial int64, names ...string) (certificate, key []byte) {
	t.Helper()
	return pemValid(t, serial, time.Time{}, time.Now().Add(time.Hour), names...)
}

// pemValid is pemPair for a certificate that is valid between two times.
func pemValid(
	t testing.TB, serial int64, from, to time.Time, names ...string,
) (certificate, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: from, NotAfter: to, DNSNames: names,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(
		&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8},
	)
}

// replace writes a file the way it ought to be done, so that nobody reads half
// of it. Its time is that of the bubble: the file system may give the same one,
// and the same inode, to what takes no time.
func replace(t testing.TB, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if now := time.Now(); os.Chtimes(name+".new", now, now) != nil {
		t.Fatal("no time can be set")
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// pairFiles writes a pair into the directory.
func pairFiles(
	t testing.TB, dir, name string, serial int64, names ...string,
) relay.CertificateFiles {
	t.Helper()
	f := relay.CertificateFiles{
		Certificate: filepath.Join(dir, name+".crt"), Key: filepath.Join(dir, name+".key"),
	}
	certificate, key := pemPair(t, serial, names...)
	replace(t, f.Certificate, certificate)
	replace(t, f.Key, key)
	return f
}

// serial does a handshake and returns the serial number of the server's
// certificate.
func serial(t testing.TB, c *relay.Certificates, name string) int64 {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	server := tls.Server(
		theirs, &tls.Config{GetCertificate: c.GetCertificate, MaxVersion: tls.VersionTLS12},
	)
	go server.Handshake()
	client := tls.Client(ours, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	return client.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		log := new(logs)
		first := pairFiles(t, dir, "first", 1, "mail.example.com")
		c, err := relay.LoadCertificates(
			log.logger(), first, pairFiles(t, dir, "second", 2, "*.example.org", "example.net"),
		)
		if err != nil {
			t.Fatal(err)
		}
		expect := func(name string, want int64) {
			t.Helper()
			if got := serial(t, c, name); got != want {
				t.Errorf("%q was served certificate %d, want %d", name, got, want)
			}
		}
		for name, want := range map[string]int64{
			"mail.example.com": 1, "MAIL.example.org": 2, "example.net": 2, "unknown.test": 1,
			"": 1,
		} {
			expect(name, want)
		}

		certificate, key := pemPair(t, 3, "mail.example.com")
		replace(t, first.Certificate, certificate)
		expect("mail.example.com", 1) // looked at a moment ago
		time.Sleep(time.Second)
		expect("mail.example.com", 1) // the key does not belong to it
		if !strings.Contains(log.String(), "stays in use") ||
			!strings.Contains(log.String(), first.Certificate) {
			t.Errorf("log %s", log)
		}
		if strings.Count(log.String(), "\n") != 1 {
			t.Errorf("log %s", log)
		}
		replace(t, first.Key, key)
		time.Sleep(time.Second)
		expect("mail.example.com", 3)
		expect("example.net", 2)

		if err := os.Remove(first.Key); err != nil {
			t.Fatal(err)
		}
		lines := strings.Count(log.String(), "\n")
		for range 3 {
			time.Sleep(time.Second)
			expect("mail.example.com", 3)
		}
		if n := strings.Count(log.String(), "\n") - lines; n != 1 {
			t.Errorf("%d lines about a missing key", n)
		}
		replace(t, first.Key, []byte("nothing of the kind"))
		time.Sleep(time.Second)
		expect("mail.example.com", 3)
		if strings.Contains(log.String(), "nothing of the kind") {
			t.Errorf("log %s", log)
		}
	})
}

func TestCertificatesFaults(t *testing.T) {
	dir := t.TempDir()
	good := pairFiles(t, dir, "good", 1, "mail.example.com")
	other := pairFiles(t, dir, "other", 2, "mail.example.com")
	_,
		err := relay.LoadCertificates(nil, good, relay.CertificateFiles{
		Certificate: filepath.Join(dir, "missing"), Key: good.Key,
	},
		relay.CertificateFiles{Certificate: good.Certificate, Key: other.Key})
	if err == nil || strings.Count(err.Error(), ": certificate ") != 2 {
		t.Errorf("%v", err)
	}
	if _, err := relay.LoadCertificates(nil); err == nil {
		t.Error("no files are no fault")
	}
}

// TestCertificatesFromWindows reads files with a byte order mark, and says of
// UTF-16 what is wrong.
func TestCertificatesFromWindows(t *testing.T) {
	files := pairFiles(t, t.TempDir(), "a", 1, "a.example.com")
	for _, name := range []string{files.Certificate, files.Key} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		replace(t, name, append([]byte("\xef\xbb\xbf"), text...))
		c, err := relay.LoadCertificates(nil, files)
		if err != nil {
			t.Fatalf("%s with a mark: %v", filepath.Base(name), err)
		}
		if got := serial(t, c, "a.example.com"); got != 1 {
			t.Errorf("serial %d", got)
		}
		wide := []byte("\xff\xfe")
		for _, b := range text {
			wide = append(wide, b, 0)
		}
		replace(t, name, wide)
		if _, err = relay.LoadCertificates(nil, files); err == nil ||
			!strings.Contains(err.Error(), "UTF-16") {
			t.Errorf("%s in UTF-16: %v", filepath.Base(name), err)
		}
		replace(t, name, text)
	}
}

func TestCertificatesConcurrently(t *testing.T) {
	dir := t.TempDir()
	f := pairFiles(t, dir, "a", 1, "mail.example.com")
	synctest.Test(t, func(t *testing.T) {
		c, err := relay.LoadCertificates(nil, f)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for n := range 20 {
					time.Sleep(time.Second)
					if i == 0 {
						replaced := pairFiles(t, dir, "b", int64(n+2), "mail.example.com")
						_ = os.Rename(replaced.Certificate, f.Certificate)
						_ = os.Rename(replaced.Key, f.Key)
					}
					if _, err := c.GetCertificate(
						&tls.ClientHelloInfo{SupportedVersions: []uint16{tls.VersionTLS13}},
					); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		time.Sleep(time.Second)
		if got := serial(t, c, ""); got != 21 {
			t.Errorf("certificate %d", got)
		}
	})
}

func ExampleLoadCertificates() {
	_, err := relay.LoadCertificates(
		nil, relay.CertificateFiles{Certificate: "tls.crt", Key: "tls.key"},
	)
	fmt.Println(err)
	// Output:
	// files[0]: certificate tls.crt: stat tls.crt: no such file or directory
}

// TestCertificateReadAgain has a pair be unreadable once and then good, with
// nothing about the files that shows a change.
func TestCertificateReadAgain(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := pairFiles(t, dir, "a", 1, "mail.example.com")
		c, err := relay.LoadCertificates(nil, f)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Hour)
		put := func(name string, text []byte) {
			t.Helper()
			file, err := os.OpenFile(name, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = file.Write(append(text, make([]byte, 2000-len(text))...))
			if err := errors.Join(err, file.Close(), os.Chtimes(name, at, at)); err != nil {
				t.Fatal(err)
			}
		}
		certificate, key := pemPair(t, 2, "mail.example.com")
		put(f.Certificate, nil)
		put(f.Key, key)
		time.Sleep(time.Second)
		if got := serial(t, c, ""); got != 1 {
			t.Errorf("certificate %d", got)
		}
		put(f.Certificate, certificate)
		time.Sleep(time.Second)
		if got := serial(t, c, ""); got != 2 {
			t.Errorf("certificate %d", got)
		}
	})
}

// TestExpiredCertificateLast serves one that has expired, or is not valid yet,
// only where there is no other.
func TestExpiredCertificateLast(t *testing.T) {
	dir := t.TempDir()
	pair := func(serial int64, from, to time.Duration, names ...string) relay.CertificateFiles {
		name := filepath.Join(dir, fmt.Sprint(serial))
		f := relay.CertificateFiles{Certificate: name + ".crt", Key: name + ".key"}
		certificate, key := pemValid(t, serial, time.Now().Add(from), time.Now().Add(to), names...)
		replace(t, f.Certificate, certificate)
		replace(t, f.Key, key)
		return f
	}
	c, err := relay.LoadCertificates(nil,
		pair(1, -2*time.Hour, -time.Hour, "a.example.com", "old.example.com"),
		pair(2, time.Hour, 2*time.Hour, "a.example.com", "next.example.com"),
		pair(3, -time.Hour, time.Hour, "a.example.com"),
		pair(4, -time.Hour, time.Hour, "a.example.com", "b.example.com"),
	)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{
		"a.example.com": 3, "b.example.com": 4, "": 3, "unknown.test": 3,
		"old.example.com": 1, "next.example.com": 2,
	} {
		if got := serial(t, c, name); got != want {
			t.Errorf("%q was served certificate %d, want %d", name, got, want)
		}
	}
}
