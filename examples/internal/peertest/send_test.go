package peertest_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	netsmtp "net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/wneessen/go-mail"
)

// job is a message to send.
type job struct {
	Host      string `json:"host"`
	Port      int    `json:"port"`
	Security  string `json:"security"`  // none, STARTTLS, implicit
	Mechanism string `json:"mechanism"` // empty: does not log on
	// the first response comes with AUTH, where the client leaves the choice
	Initial  bool   `json:"initial"`
	User     string `json:"user"`
	Password string `json:"password"` // or the token
	From     string `json:"from"`
	To       string `json:"to"`
	File     string `json:"file"`
	CA       string `json:"ca"`
	// Of the client, empty if it has none.
	Certificate string `json:"certificate"`
	Key         string `json:"key"`

	message []byte
}

func (j *job) addr() string { return net.JoinHostPort(j.Host, strconv.Itoa(j.Port)) }

// certificate makes the client show one from a directory.
func (j *job) certificate(dir, name string) {
	j.Certificate, j.Key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
}

// text is the job for a script.
func (j *job) text() string {
	b, _ := json.Marshal(j) // strings and numbers always marshal
	return string(b)
}

func (j *job) tls() *tls.Config {
	pool := x509.NewCertPool()
	pem, _ := os.ReadFile(j.CA)
	pool.AppendCertsFromPEM(pem)
	config := &tls.Config{RootCAs: pool, ServerName: j.Host}
	if pair, err := tls.LoadX509KeyPair(j.Certificate, j.Key); err == nil {
		config.Certificates = []tls.Certificate{pair}
	}
	return config
}

// script returns a client that is a script for an interpreter.
func script(name, file string) func(context.Context, *job) (string, error) {
	return func(ctx context.Context, j *job) (string, error) {
		return output(ctx, nil, name, file, j.text())
	}
}

// java is where the classes of Jakarta Mail are, and the one that sends.
var java = "/usr/share/java/javax.mail.jar:/usr/share/java/javax.activation.jar:" + binary + ".java"

// compile makes the Java programs ready.
func compile() ([]byte, error) {
	dir := binary + ".java"
	return exec.Command("javac", "-cp", java, "-d", dir, "testdata/Send.java").CombinedOutput()
}

func jakartaMail(ctx context.Context, j *job) (string, error) {
	return output(ctx, nil, "java", "-cp", java, "-XX:TieredStopAtLevel=1", "Send",
		j.Host, strconv.Itoa(j.Port), j.Security, j.Mechanism, j.User, j.Password,
		j.From, j.To, j.File, j.CA)
}

func swaks(ctx context.Context, j *job) (string, error) {
	args := []string{
		"--server", j.Host, "--port", strconv.Itoa(j.Port), "--helo", "client.example.test",
		"--suppress-data",
		"--from", j.From, "--to", j.To, "--data", "@" + j.File, "--tls-verify", "--tls-ca-path",
		j.CA,
	}
	switch j.Security {
	case "STARTTLS":
		args = append(args, "--tls")
	case "implicit":
		args = append(args, "--tls-on-connect")
	}
	if j.Mechanism != "" {
		args = append(
			args, "--auth", j.Mechanism, "--auth-user", j.User, "--auth-password", j.Password,
		)
	}
	return output(ctx, nil, "swaks", args...)
}

func msmtp(ctx context.Context, j *job) (string, error) {
	content, err := os.ReadFile(j.File)
	if err != nil {
		return "", err
	}
	args := []string{
		"--host=" + j.Host, "--port=" + strconv.Itoa(j.Port), "--domain=client.example.test",
		"--from=" + j.From, "--tls-trust-file=" + j.CA,
	}
	switch j.Security {
	case "STARTTLS":
		args = append(args, "--tls=on", "--tls-starttls=on")
	case "implicit":
		args = append(args, "--tls=on", "--tls-starttls=off")
	}
	if j.Mechanism != "" {
		quoted := "'" + strings.ReplaceAll(j.Password, "'", `'\''`) + "'"
		args = append(args, "--auth="+strings.ToLower(j.Mechanism), "--user="+j.User)
		if j.Password != "" {
			args = append(args, "--passwordeval=printf %s "+quoted)
		}
	}
	if j.Certificate != "" {
		args = append(args, "--tls-cert-file="+j.Certificate, "--tls-key-file="+j.Key)
	}
	return output(ctx, bytes.NewReader(content), "msmtp", append(args, "--", j.To)...)
}

func curl(ctx context.Context, j *job) (string, error) {
	scheme := "smtp"
	if j.Security == "implicit" {
		scheme = "smtps"
	}
	args := []string{
		"-sSv", "--url", scheme + "://" + j.addr() + "/client.example.test", "--cacert", j.CA,
		"--mail-from", j.From, "--mail-rcpt", j.To, "-T", j.File,
	}
	if j.Security == "STARTTLS" {
		args = append(args, "--ssl-reqd")
	}
	if j.Initial {
		args = append(args, "--sasl-ir")
	}
	switch j.Mechanism {
	case "":
	case "OAUTHBEARER", "XOAUTH2":
		args = append(
			args, "--user", j.User+":", "--oauth2-bearer", j.Password, "--login-options",
			"AUTH="+j.Mechanism,
		)
	default:
		args = append(args, "--user", j.User+":"+j.Password, "--login-options", "AUTH="+j.Mechanism)
	}
	if j.Certificate != "" {
		args = append(args, "--cert", j.Certificate, "--key", j.Key)
	}
	return output(ctx, nil, "curl", args...)
}

// shown is what a library answers, as a program would print it.
func shown(err error) (string, error) {
	if err != nil {
		return err.Error(), err
	}
	return "", nil
}

func goStandard(ctx context.Context, j *job) (string, error) { return shown(sendStandard(ctx, j)) }

func sendStandard(ctx context.Context, j *job) error {
	conn, err := dial(ctx, j)
	if err != nil {
		return err
	}
	defer conn.Close()
	c, err := netsmtp.NewClient(conn, j.Host)
	if err != nil {
		return err
	}
	if j.Security == "STARTTLS" {
		if err := c.StartTLS(j.tls()); err != nil {
			return err
		}
	}
	if j.Mechanism != "" {
		auth := netsmtp.PlainAuth("", j.User, j.Password, j.Host)
		if j.Mechanism == "XOAUTH2" {
			auth = xoauth2{j}
		}
		if err := c.Auth(auth); err != nil {
			return err
		}
	}
	if err := c.Mail(j.From); err != nil {
		return err
	}
	if err := c.Rcpt(j.To); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(j.message); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// xoauth2 is what programs write that use net/smtp.
type xoauth2 struct{ *job }

func (a xoauth2) Start(*netsmtp.ServerInfo) (string, []byte, error) {
	return "XOAUTH2", []byte("user=" + a.User + "\x01auth=Bearer " + a.Password + "\x01\x01"), nil
}

func (a xoauth2) Next(_ []byte, more bool) ([]byte, error) {
	if more {
		return []byte{}, nil // the refusal comes when its reasons have been taken
	}
	return nil, nil
}

func goSMTP(ctx context.Context, j *job) (string, error) { return shown(sendGoSMTP(ctx, j)) }

func sendGoSMTP(ctx context.Context, j *job) error {
	conn, err := dial(ctx, j)
	if err != nil {
		return err
	}
	defer conn.Close()
	c := smtp.NewClient(conn)
	if j.Security == "STARTTLS" {
		if c, err = smtp.NewClientStartTLS(conn, j.tls()); err != nil {
			return err
		}
	}
	if j.Mechanism != "" {
		auth := sasl.NewPlainClient("", j.User, j.Password)
		switch j.Mechanism {
		case "LOGIN":
			auth = sasl.NewLoginClient(j.User, j.Password)
		case "OAUTHBEARER":
			auth = sasl.NewOAuthBearerClient(
				&sasl.OAuthBearerOptions{
					Username: j.User, Token: j.Password, Host: j.Host, Port: j.Port,
				},
			)
		case "EXTERNAL":
			auth = sasl.NewExternalClient("")
		}
		if err := c.Auth(auth); err != nil {
			return err
		}
	}
	if err := c.SendMail(j.From, []string{j.To}, bytes.NewReader(j.message)); err != nil {
		return err
	}
	return c.Quit()
}

// dial connects to a gateway that listens at 127.0.0.1 only, which is not all
// that localhost may be.
func dial(ctx context.Context, j *job) (net.Conn, error) {
	if j.Security == "implicit" {
		return (&tls.Dialer{Config: j.tls()}).DialContext(ctx, "tcp4", j.addr())
	}
	return new(net.Dialer).DialContext(ctx, "tcp4", j.addr())
}

func goMail(ctx context.Context, j *job) (string, error) { return shown(sendGoMail(ctx, j)) }

func sendGoMail(ctx context.Context, j *job) error {
	_, body, _ := strings.Cut(string(j.message), "\r\n\r\n")
	m := mail.NewMsg(mail.WithEncoding(mail.NoEncoding))
	if err := m.From(j.From); err != nil {
		return err
	}
	if err := m.To(j.To); err != nil {
		return err
	}
	m.SetBodyString(mail.TypeTextPlain, body)
	options := []mail.Option{
		mail.WithPort(j.Port), mail.WithTLSConfig(j.tls()), mail.WithTLSPolicy(mail.NoTLS),
	}
	switch j.Security {
	case "STARTTLS":
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	case "implicit":
		options = append(options, mail.WithSSL())
	}
	if j.Mechanism != "" {
		options = append(
			options, mail.WithSMTPAuth(mail.SMTPAuthType(j.Mechanism)), mail.WithUsername(j.User),
			mail.WithPassword(j.Password),
		)
	}
	c, err := mail.NewClient(j.Host, options...)
	if err != nil {
		return err
	}
	return c.DialAndSendWithContext(ctx, m)
}
