package autoconfig

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/postern-mail/postern/domains"
)

// The schemas of Autodiscover in plain XML
// (https://learn.microsoft.com/exchange/client-developer/web-service-reference/pox-autodiscover-web-service-reference-for-exchange).
const (
	requestSchema  = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
	settingsSchema = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
)

// autodiscover is an answer. Its two kinds of Response are of different
// schemas.
type autodiscover struct {
	XMLName  xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Autodiscover"`
	Settings *settingsResponse
	Error    *errorResponse
}

type settingsResponse struct {
	XMLName     xml.Name      `xml:"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a Response"`
	AccountType string        `xml:"Account>AccountType"`
	Action      string        `xml:"Account>Action"`
	Protocols   []poxProtocol `xml:"Account>Protocol"`
}

type poxProtocol struct {
	Type           string
	Server         string
	Port           uint16
	LoginName      string
	DomainRequired string
	SPA            string // the Windows logon
	SSL            string
	Encryption     string // SSL is implicit TLS, TLS is STARTTLS; it overrides the element SSL
	AuthRequired   string
	UsePOPAuth     string `xml:",omitempty"`
	SMTPLast       string `xml:",omitempty"`
}

type errorResponse struct {
	XMLName xml.Name `xml:"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006 Response"`
	Error   poxError
}

type poxError struct {
	Time      string `xml:",attr"`
	ID        string `xml:"Id,attr"`
	ErrorCode int
	Message   string
	DebugData string
}

// The error codes of Autodiscover.
const (
	codeUnknown = 500 // no settings for the address
	codeRequest = 600 // malformed
	codeSchema  = 601 // settings of another kind are asked for
)

const (
	maxRequest = 16 << 10 // octets of a request; Outlook sends about 400
	maxDepth   = 8        // nested elements; a request has 3
)

var (
	errRequest = errors.New("malformed request")
	errSchema  = errors.New("other settings than Outlook's")
)

func (h *Handler) outlook(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		notAllowed(w, "POST")
		return
	}
	email, err := readRequest(http.MaxBytesReader(w, r.Body, maxRequest))
	var a domains.Address
	if err == nil {
		a, err = domains.Parse(email)
	}
	protocols := h.protocols(a)
	// Errors are a 200 as well: with another status, clients look for settings
	// elsewhere.
	switch {
	case errors.Is(err, errSchema):
		poxFailure(w, codeSchema, "Provider is not available")
	case err != nil:
		poxFailure(w, codeRequest, "Invalid Request")
	case !h.serves(a.Domain()) || len(protocols) == 0:
		poxFailure(w, codeUnknown, "There are no settings for this domain")
	default:
		respondXML(
			w,
			autodiscover{
				Settings: &settingsResponse{
					AccountType: "email", Action: "settings", Protocols: protocols,
				},
			},
		)
	}
}

// protocols are the servers for the owner of an address; none when the relay
// publishes none that takes passwords. The format names no other way to log on
// to such servers: SPA is NTLM, and AuthPackage is for Exchange's own
// protocols.
func (h *Handler) protocols(a domains.Address) []poxProtocol {
	outgoing := withPasswords(h.submission())
	if len(outgoing) == 0 {
		return nil
	}
	var list []poxProtocol
	for _, s := range append(withPasswords(h.incoming()), outgoing...) {
		p := poxProtocol{
			Type: strings.ToUpper(string(s.protocol)), Server: s.host, Port: s.port,
			LoginName: h.loginName(a),
			// SSL stays on with STARTTLS: to clients that do not know
			// Encryption, or heed SSL as well (Thunderbird), off means no TLS
			// at all.
			DomainRequired: "off", SPA: "off", SSL: "on", Encryption: "TLS", AuthRequired: "on",
		}
		if s.implicit {
			p.Encryption = "SSL"
		}
		if s.protocol == smtp {
			p.UsePOPAuth, p.SMTPLast = "off", "off"
		}
		list = append(list, p)
	}
	return list
}

func poxFailure(w http.ResponseWriter, code int, message string) {
	respondXML(w, autodiscover{Error: &errorResponse{Error: poxError{
		Time: time.Now().UTC().Format("15:04:05.0000000"), ID: "0", ErrorCode: code,
		Message: message,
	}}})
}

// readRequest returns the address that settings are asked for. Its errors are
// errRequest and errSchema.
func readRequest(r io.Reader) (email string, err error) {
	const (
		root    = "Autodiscover"
		request = root + "/Request"
		address = request + "/EMailAddress"
		schema  = request + "/AcceptableResponseSchema"
	)
	var (
		dec      = xml.NewDecoder(r) // knows no entities but XML's own, and fetches nothing
		path     []string
		text     strings.Builder
		seen     = map[string]bool{}
		accepted bool
	)
	for {
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", errRequest
		}
		switch t := token.(type) {
		case xml.Directive:
			return "", errRequest // a document type, which no client sends
		case xml.StartElement:
			path = append(path, t.Name.Local)
			switch name := strings.Join(path, "/"); {
			case len(path) > maxDepth, len(path) == 1 &&
				name != root, strings.HasPrefix(name, address+"/"):
				return "", errRequest
			case name == root && t.Name.Space != requestSchema:
				return "", errSchema
			// another reader could take the other one
			case seen[name] && name != schema && len(path) <= 3:
				return "", errRequest
			default:
				seen[name] = true
			}
			text.Reset()
		case xml.CharData:
			text.Write(t)
		case xml.EndElement:
			switch value := strings.TrimSpace(text.String()); strings.Join(path, "/") {
			case address:
				email = value
			case schema:
				accepted = accepted || value == settingsSchema
			}
			path = path[:len(path)-1]
			text.Reset()
		}
	}
	switch {
	case seen[schema] && !accepted:
		return "", errSchema
	case email == "":
		return "", errRequest
	}
	return email, nil
}

// outlookJSON tells where Autodiscover in plain XML is, which is all that
// version 2 has to say about mail programs other than Exchange's own.
func (h *Handler) outlookJSON(w http.ResponseWriter, r *http.Request, email string) {
	const wanted = "AutodiscoverV1"
	protocol := query(r, "Protocol")
	a, err := domains.Parse(email)
	switch {
	case err != nil:
		jsonFailure(
			w, http.StatusBadRequest, "MandatoryParameterMissing",
			"A valid mail address must be provided.",
		)
	case protocol == "":
		jsonFailure(
			w, http.StatusBadRequest, "MandatoryParameterMissing",
			"A valid value must be provided for the query parameter 'Protocol'.",
		)
	case !strings.EqualFold(protocol, wanted):
		jsonFailure(
			w, http.StatusBadRequest, "InvalidProtocol",
			"The given protocol value is invalid. Supported values are '"+wanted+"'.",
		)
	case !h.serves(a.Domain()) || len(withPasswords(h.submission())) == 0:
		jsonFailure(
			w, http.StatusNotFound, "UserNotFound", "There are no settings for this domain.",
		)
	default:
		respondJSON(w, http.StatusOK, struct {
			Protocol string
			URL      string `json:"Url"`
		}{wanted, "https://" + h.opts.WebHost + pathPOX})
	}
}

func jsonFailure(w http.ResponseWriter, status int, code, message string) {
	respondJSON(w, status, struct{ ErrorCode, ErrorMessage string }{code, message})
}

func respondJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "Internal error.", http.StatusInternalServerError)
		return
	}
	respond(w, status, typeJSON, append(body, '\n'))
}
