// Package exchange reads the transport configuration of a Microsoft Exchange
// organization and gives the same in the types of packages connector and domains.
//
// A [Dump] is the JSON that the Exchange Management Shell prints:
//
//	Get-ReceiveConnector -Server EX01 | ConvertTo-Json -Depth 5 > receive.json
//	Get-AcceptedDomain | ConvertTo-Json -Depth 5 > accepted.json
//	Get-SendConnector | ConvertTo-Json -Depth 5 > send.json
//	Get-ReceiveConnector -Server EX01 | Get-ADPermission |
//	  select Identity,User,ExtendedRights,AccessRights,Deny,IsInherited | ConvertTo-Json -Depth 5 > permissions.json
//
// It is read as it comes: from a local or a remote session, with enumerations as words or
// numbers, with a list of one element printed as the element, in UTF-8 or UTF-16.
//
// # What the result means
//
// [Read] converts what there is and says in [Result.Notes] what has no
// counterpart, what means something else here, and what an administrator may
// take for something that it is not. Nothing is made more permissive on the way:
// where a setting cannot be expressed, the closed side is taken and a note tells. What the
// relay will refuse, such as an open relay, is converted as it stands and
// noted, so that it is refused in sight.
//
// Some things differ for every connector and are not noted each time:
//
//   - There is no front end that passes sessions on to another server. Rights apply where
//     the session arrives.
//   - Content with a bare line feed is refused, unless [connector.Connector.RepairLineEndings] is set.
//   - A smart host is looked up by its addresses, not by its mail exchangers.
//   - What only describes an object (comments, dates, identifiers) or directs
//     logging is left out.
//   - Permissions to administer a connector are not about sessions and are left out.
//
// # Concurrency
//
// Read keeps no state. A Result is the caller's to change.
package exchange
