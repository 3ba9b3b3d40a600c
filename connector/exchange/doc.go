// Package exchange reads the transport configuration of a Microsoft Exchange
// organization and gives the same in the types of packages connector and
// domains.
//
// A [Dump] is the JSON that the Exchange Management Shell prints:
//
//	Get-ReceiveConnector -Server EX01 | ConvertTo-Json -Depth 5 > receive.json
//	Get-AcceptedDomain | ConvertTo-Json -Depth 5 > accepted.json
//	Get-SendConnector | ConvertTo-Json -Depth 5 > send.json
//	$sid = [Security.Principal.SecurityIdentifier]
//	Get-ReceiveConnector -Server EX01 | Get-ADPermission | select Identity,User,
//	  @{n='Sid';e={try{
//	    ([Security.Principal.NTAccount]"$($_.User)").Translate($sid).Value
//	  }catch{}}},ExtendedRights,AccessRights,Deny,IsInherited,
//	  InheritanceType,InheritedObjectType |
//	  ConvertTo-Json -Depth 5 > permissions.json
//
// Sid is there because Windows translates the names of accounts: ANONYMOUS
// LOGON has another name on a server in French, and no name tells that it is no
// user.
//
// It is read as it comes: from a local or a remote session, with enumerations
// as words or numbers, with a list of one element printed as the element, in
// UTF-8 or UTF-16.
//
// # What the result means
//
// [Read] converts what there is and says in [Result.Notes] what has no
// counterpart, what means something else here, and what an administrator may
// take for something that it is not. What the relay will refuse, such as an
// open relay, is converted as it stands and noted, so that it is refused in
// sight.
//
// Nothing is made more permissive on the way. Where a setting cannot be
// expressed, the closed side is taken and a note tells; where the dump leaves
// open what it means, it is a fault:
//
//   - An account counts by its security identifier. Without one, the names of
//     the well-known accounts in English and German are known, and the accounts
//     of a domain in which the dump has a group of Exchange's, such as
//     CONTOSO\Exchange Servers. Any other account that is granted or denied a
//     right is a fault.
//   - A denial wins over every grant, also where it is inherited. One to a user
//     or to a group of the directory is for everybody who logs on, until you
//     name your own user or group for it.
//   - A grant to all rights at once, or for objects below the connector, is
//     left out.
//   - The group Partners is left out: which domains are partners is in no dump.
//   - A password for several smart hosts, each of which Exchange would want to
//     prove its own name, is refused by the relay until you say how.
//   - A connector with the group Custom needs its permissions, and a row has to
//     say whether it is a denial. What a dump of selected parameters does not
//     tell is taken for closed: the connector is disabled, and TLS required.
//
// Some things differ for every connector and are not noted each time:
//
//   - There is no front end that passes sessions on to another server. Rights
//     apply where the session arrives.
//   - Content with a bare line feed is refused, unless
//     [connector.Connector.RepairLineEndings] is set.
//   - A smart host is looked up by its addresses, not by its mail exchangers.
//   - What only describes an object (comments, dates, identifiers) or directs
//     logging is left out.
//   - Permissions to administer a connector are not about sessions and are left
//     out.
//
// # Concurrency
//
// Read keeps no state. A Result is the caller's to change.
package exchange
