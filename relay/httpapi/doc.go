// Package httpapi takes messages over HTTP, for applications that are not
// written in Go and would rather not speak SMTP.
//
//	POST /messages      queues a message: 202 and {"queue_id": "…"}
//	GET  /openapi.json  describes the interface (OpenAPI 3.1)
//
// [New] makes an [http.Handler] for one receive connector of a relay. What a
// client may do is decided as for a session on that connector: its remote
// ranges, who may log on and whether only inside TLS, permission groups and
// grants, senders, limits on size, header, recipients, messages a minute,
// requests at a time, the pressure, and the application's Policy. Refusals make
// the same log lines and events. A message is taken as a whole: if one
// recipient is refused, nothing is queued. 202 is given when the message is
// durable.
//
// # Requests
//
// Users log on with a name and a password (Basic, RFC 7617), which
// auth.Server.Passwords of relay.Config.Auth decides on, or with a token
// (Bearer, RFC 6750), which Tokens decides on, as by AUTH PLAIN and
// OAUTHBEARER: with the same Throttle and Policy.Auth. Tokens are taken inside
// TLS only. With an [auth.Keyring] as Tokens, applications need nothing but the
// token of their credential:
//
//	Authorization: Bearer q2tv7xk4ma_5vqk7w2c3m6yhd4nzrpxgfatub2so7il
//
// A 401 asks for the schemes that are taken in this place, and with
// error="invalid_token" tells that a token was refused. Where none is, as
// outside TLS, it is a 403. There is one Authorization field, and no token in
// the query or the body.
//
// The body is one of
//
//   - application/json: sender, recipients, subject, text, HTML, attachments;
//     the message is made from it. Its fields are below. Unknown fields, and
//     those given twice, are refused. The body is held in memory; see
//     [Config].MaxJSONBytes and MaxBuffered.
//   - message/rfc822: the message itself, with the envelope in the query: from
//     (empty for the null sender), to, once for each recipient, and
//     envelope_id, return, notify, stream, not_before, expires,
//     label=name:value. The body goes to the spool as it arrives. Lines may end
//     in LF. A CR on its own is refused in a header, that of a part included,
//     and becomes CRLF elsewhere.
//
// # JSON
//
// The fields of the JSON body; /openapi.json has their limits as well:
//
//	from, to, cc, bcc, reply_to   "a@example.com" or "Ann <a@example.com>"; from
//	                              is one string, the others are lists; one of
//	                              to, cc and bcc has a recipient
//	subject, text, html           UTF-8
//	headers                       an object of further fields
//	attachments                   a list of {"name", "content_type", "content"},
//	                              the content in base64
//	envelope_from, envelope_id,   as in relay.Message; envelope_from defaults
//	return, notify                to the address of from, "" is the null sender,
//	                              and notify is a list of words
//	labels                        an object of strings
//	stream                        as in relay.Message
//	not_before, expires           times of RFC 3339
//
// # Errors
//
// Errors are problem details (RFC 9457) with the SMTP reply in "smtp" and,
// where there is one to blame, each recipient or field in "errors". The texts
// are constant. Statuses follow from the reply:
//
//	400  5.1.3, 5.1.7, 5.2.x, 5.5.x  a malformed body, address or parameter
//	401  530 5.7.1, 535, 504 5.7.4   log on; the credentials are wrong, or of a
//	                                 kind that is not taken
//	403  530 5.7.0, 538, 502, 5.7.x  TLS is required, no right to this sender,
//	                                 recipient or service
//	404, 405                         no such resource, no such method
//	413  552 5.3.4                   message, header or JSON too large
//	415                              neither application/json nor message/rfc822
//	422  other 5xx, 452 4.5.3        unknown recipient, too many recipients,
//	                                 mail loop, refused content; or an
//	                                 Idempotency-Key used for another request,
//	                                 without "smtp"
//	429  421 4.4.2, throttled 454,   too many messages, too many failed logons,
//	     450 4.7.1 of a cap          or a cap of the credential
//	503  other 4xx                   no room, a verifier or a lookup failed; try
//	                                 again
//
// 429 and 503 carry Retry-After: for the cap of a day, until midnight UTC.
//
// # Idempotency-Key
//
// A client that got no answer may repeat a request with the same
// Idempotency-Key, 1 to 255 printable characters of its choice. If the first
// was answered 202, so is the repetition, for 24 hours, with the same queue id,
// and nothing is queued. A key belongs to the user with the credential in use
// and the stream, whichever of its tokens is shown; without both to the remote
// address. Only success is remembered: a request that was refused may be
// repeated and is judged anew. The same key with another message is answered
// 422. Of two requests at the same time one queues the message, and both have
// its id.
//
// The keys are relay.Message.Key: they are in the relay's spool from the step
// that queues the message, so that neither a crash nor another process that
// shares the spool queues it twice. Without a spool.Keys the answer is 503.
//
// # Proxies
//
// X-Forwarded-For and X-Forwarded-Proto are believed from the addresses in
// Config.Proxies only. A request that carries such fields, or Forwarded, from
// elsewhere is refused: if its sender is a proxy that nobody listed, everybody
// behind it would pass for it. A proxy must set both fields. TLS up to a proxy
// counts as the proxy says it does: X-Forwarded-Proto decides. On the way from
// there to this host passwords and mail can be read unless it comes inside TLS
// too; with [relay.Config].RequireEncryption a proxy that is not on a loopback
// address has to.
//
// # What is left to the server
//
// Time limits are those of the [http.Server]: set ReadHeaderTimeout, and a
// ReadTimeout that lets the largest message in. WriteTimeout must be longer
// than the connector's AuthTarpit. There is no CORS: pages of other origins
// cannot post. A page whose own name has been made to point at this host can,
// where the connector lets clients in by their address alone and one of them is
// a browser: there, check Request.Host before the handler.
package httpapi
