// Holds the OpenAPI document on standard input to the schema of its version.
import { Validator } from '@seriousme/openapi-schema-validator';
import { readFileSync } from 'node:fs';

const validator = new Validator();
const { valid, errors } = await validator.validate(JSON.parse(readFileSync(0)));
console.log(validator.version);
if (!valid) {
	console.error(JSON.stringify(errors, null, '\t'));
	process.exitCode = 1;
}
