package ldapauth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
)

const (
	searcher = "cn=postern,dc=example,dc=com"
	odd      = `o*d)(uid=*,+\ ü`
)

const config = `
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
attributetype ( 1.2.840.113556.1.2.210 NAME 'proxyAddresses' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( 2.25.1 NAME 'mailPerson' SUP top AUXILIARY MAY proxyAddresses )
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile pid
argsfile args
# Like Active Directory: a bind with an empty password is one, of nobody.
allow bind_anon_dn
%s
database mdb
suffix dc=example,dc=com
rootdn cn=admin,dc=example,dc=com
rootpw admin
directory data
dbnosync
overlay memberof
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact=cn=postern,dc=example,dc=com read by self read by * none

database mdb
suffix dc=closed
rootdn cn=admin,dc=example,dc=com
directory closed
dbnosync
restrict bind
access to * by * read
`

const entries = `
dn: dc=example,dc=com
objectClass: domain
dc: example

dn: cn=postern,dc=example,dc=com
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: postern
userPassword: searching

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: uid=anna,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
objectClass: mailPerson
uid: anna
cn: Anna
sn: A
mail: Anna@Example.com
proxyAddresses: SMTP:Anna@Example.com
proxyAddresses: smtp:a@bücher.example
proxyAddresses: smtp:*@example.com
proxyAddresses: x500:/o=Example/cn=a@example.org
userPassword: secret

dn: uid=bert,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: bert
cn: Bert
sn: B
mail: both@example.com
userPassword: secret

dn: uid=Über,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: Über
cn: Uwe
sn: B
mail: both@example.com
userPassword: secret

dn: uid=o*d)(uid\=*\,\+\\ ü,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: o*d)(uid=*,+\ ü
cn: Odd
sn: B
userPassword: secret

dn: uid=none,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: none
cn: None
sn: N

dn: uid=two,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: two
uid: zwei
cn: Two
sn: T
userPassword: secret

dn: ou=groups,dc=example,dc=com
objectClass: organizationalUnit
ou: groups

dn: cn=staff,ou=groups,dc=example,dc=com
objectClass: groupOfNames
cn: staff
member: uid=anna,ou=people,dc=example,dc=com

dn: ou=elsewhere,dc=example,dc=com
objectClass: referral
objectClass: extensibleObject
ou: elsewhere
ref: ldap://%s/ou=elsewhere,dc=example,dc=com

dn: dc=closed
objectClass: domain
dc: closed

dn: uid=carl,dc=closed
objectClass: account
objectClass: simpleSecurityObject
uid: carl
userPassword: secret
`

// slapd is a running OpenLDAP server.
type slapd struct {
	ldap, ldaps string // URLs
	cert        []byte // PEM
	dir         string
	cmd         *exec.Cmd
	life        io.Closer
}

// log is what it has written. It writes of a request before it answers.
func (s *slapd) log() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return string(text)
}

// requests returns the searches and binds of clients so far.
func (s *slapd) requests() []string {
	var all []string
	for line := range strings.Lines(s.log()) {
		for _, op := range []string{" SRCH base=", " BIND dn="} {
			// said again, of the result
			if _, what, ok := strings.Cut(line, op); ok && !strings.Contains(line, "mech=") {
				all = append(all, strings.TrimSpace(op)+strings.TrimSpace(what))
			}
		}
	}
	return all
}

var (
	// of all tests that do not change it; those that look at its requests are
	// not parallel
	directory *slapd
	elsewhere net.Listener
)

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		return // all of it needs slapd
	}
	code := 1
	dir, err := os.MkdirTemp("", "ldapauth")
	if err == nil {
		elsewhere, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err == nil {
		directory, err = startSlapd(dir, true)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "slapd:", err)
	} else {
		code = m.Run()
		directory.stop()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// newSlapd starts a server for one test.
func newSlapd(t *testing.T, secure bool) *slapd {
	t.Helper()
	s, err := startSlapd(t.TempDir(), secure)
	if err != nil {
		t.Fatal("slapd: ", err)
	}
	t.Cleanup(s.stop)
	return s
}

// startSlapd starts a server that keeps its data in dir.
func startSlapd(dir string, secure bool) (*slapd, error) {
	s := &slapd{dir: dir}
	l1, err1 := listenLow()
	l2, err2 := listenLow()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	address := l1.Addr().String()
	s.ldap, s.ldaps = "ldap://"+address, "ldaps://"+l2.Addr().String()
	l1.Close()
	l2.Close()
	urls, tlsConfig := s.ldap, ""
	if secure {
		urls += " " + s.ldaps
		tlsConfig = "TLSCertificateFile cert.pem\nTLSCertificateKeyFile key.pem"
		if err := s.certificate(); err != nil {
			return nil, err
		}
	}
	// A copy, since AppArmor keeps the installed program to the installed
	// paths.
	program, err := os.ReadFile("/usr/sbin/slapd")
	if err != nil {
		return nil, fmt.Errorf("not installed: apt-get install slapd: %w", err)
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "slapd"), program, 0o700),
		os.WriteFile(filepath.Join(dir, "slapd.conf"), fmt.Appendf(nil, config, tlsConfig), 0o600),
		os.Mkdir(filepath.Join(dir, "data"), 0o700),
		os.Mkdir(filepath.Join(dir, "closed"), 0o700),
	); err != nil {
		return nil, err
	}
	logFile, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	// It ends, and its data go, when the test does, even if that is killed, as
	// a fuzzing one is.
	s.cmd = exec.Command(
		"sh", "-c", `"$0/slapd" "$@" & read -r line; kill -9 $!; wait; rm -r "$0"`, dir, "-f",
		"slapd.conf", "-h", urls, "-d", "stats",
	)
	if s.life, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = dir, logFile, logFile
	return s, s.start(address)
}

// listenLow listens at a port below those that the system gives to clients:
// none of them takes it before the server does.
func listenLow() (l net.Listener, err error) {
	for range 100 {
		l, err = net.Listen("tcp4", fmt.Sprint("127.0.0.1:", 10_000+mathrand.N(20_000)))
		if err == nil {
			break
		}
	}
	return l, err
}

func (s *slapd) start(address string) error {
	if err := s.cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			break
		}
		select {
		case <-ctx.Done():
			log := s.log()
			s.stop()
			return fmt.Errorf("not ready after 30 s\n%s", log)
		case <-time.After(20 * time.Millisecond):
		}
	}
	add := exec.CommandContext(
		ctx, "ldapadd", "-x", "-H", s.ldap, "-D", "cn=admin,dc=example,dc=com", "-w", "admin",
	)
	add.Stdin = strings.NewReader(fmt.Sprintf(entries, elsewhere.Addr()))
	if out, err := add.CombinedOutput(); err != nil {
		s.stop()
		return fmt.Errorf("ldapadd: %w\n%s", err, out)
	}
	return nil
}

func (s *slapd) stop() {
	s.life.Close()
	s.cmd.Wait()
}

// certificate makes one for 127.0.0.1.
func (s *slapd) certificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	cert, err1 := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	der, err2 := x509.MarshalPKCS8PrivateKey(key)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	s.cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	return errors.Join(
		os.WriteFile(filepath.Join(s.dir, "cert.pem"), s.cert, 0o600),
		os.WriteFile(
			filepath.Join(s.dir, "key.pem"),
			pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600,
		),
	)
}

// trusting returns the settings of a client that knows the servers.
func trusting(servers ...*slapd) *tls.Config {
	roots := x509.NewCertPool()
	for _, s := range servers {
		roots.AppendCertsFromPEM(s.cert)
	}
	return &tls.Config{RootCAs: roots}
}

// The server is one that tempts: it takes an empty password for a bind that
// succeeds.
func TestServerIsTempting(t *testing.T) {
	c, err := ldap.DialURL(directory.ldap)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.UnauthenticatedBind("uid=anna,ou=people,dc=example,dc=com"); err != nil {
		t.Error(err)
	}
}
