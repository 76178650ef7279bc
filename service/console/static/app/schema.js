// A reader of JSON Schema for forms: the keywords that functions of models use. Unknown keywords are passed over.

const MAX_PROBLEMS = 5;

/** Returns what is wrong with `value`, as [path, message] pairs; empty if it fits the schema. */
export function problemsOf(schema, value, path = "") {
  const found = [];
  check(schema ?? {}, value, path, found);
  return found.slice(0, MAX_PROBLEMS);
}

const typeOf = (value) => (value === null ? "null" : Array.isArray(value) ? "array" : typeof value);

function hasType(type, value) {
  if (type === "integer") return Number.isInteger(value);
  return type === typeOf(value);
}

function check(schema, value, path, found) {
  const types = schema.type === undefined ? [] : [schema.type].flat();
  if (types.length && !types.some((type) => hasType(type, value))) {
    found.push([path, `must be ${types.join(" or ")}`]);
    return;
  }
  if (schema.enum && !schema.enum.some((one) => JSON.stringify(one) === JSON.stringify(value))) {
    found.push([path, `must be one of ${schema.enum.map((one) => JSON.stringify(one)).join(", ")}`]);
  }
  if (schema.const !== undefined && JSON.stringify(schema.const) !== JSON.stringify(value)) {
    found.push([path, `must be ${JSON.stringify(schema.const)}`]);
  }
  if (typeof value === "number") checkNumber(schema, value, path, found);
  if (typeof value === "string") checkText(schema, value, path, found);
  if (Array.isArray(value) && schema.items) value.forEach((item, at) => check(schema.items, item, `${path}[${at}]`, found));
  if (typeOf(value) === "object") checkObject(schema, value, path, found);
}

function checkNumber(schema, value, path, found) {
  if (schema.minimum !== undefined && value < schema.minimum) found.push([path, `must be ${schema.minimum} or more`]);
  if (schema.maximum !== undefined && value > schema.maximum) found.push([path, `must be ${schema.maximum} or less`]);
}

function checkText(schema, value, path, found) {
  if (schema.minLength !== undefined && value.length < schema.minLength) found.push([path, `needs ${schema.minLength} characters`]);
  if (schema.maxLength !== undefined && value.length > schema.maxLength) found.push([path, `may have ${schema.maxLength} characters`]);
  if (schema.pattern === undefined) return;
  try {
    if (!new RegExp(schema.pattern, "u").test(value)) found.push([path, `must match ${schema.pattern}`]);
  } catch {
    // The pattern is no expression that this browser knows.
  }
}

function checkObject(schema, value, path, found) {
  const properties = schema.properties ?? {};
  for (const name of schema.required ?? []) {
    if (!(name in value)) found.push([join(path, name), "is missing"]);
  }
  for (const [name, item] of Object.entries(value)) {
    if (properties[name]) check(properties[name], item, join(path, name), found);
    else if (schema.additionalProperties === false) found.push([join(path, name), "is not known"]);
  }
}

const join = (path, name) => (path ? `${path}.${name}` : name);

const SCHEMA_TYPES = new Set(["object", "array", "string", "number", "integer", "boolean", "null"]);

/** Returns what is wrong with a schema of a function's parameters, as [path, message] pairs. */
export function problemsOfSchema(schema, path = "") {
  if (typeOf(schema) !== "object") return [[path, "must be an object"]];
  const found = [];
  for (const type of schema.type === undefined ? [] : [schema.type].flat()) {
    if (!SCHEMA_TYPES.has(type)) found.push([join(path, "type"), `${JSON.stringify(type)} is no type`]);
  }
  if (path === "" && schema.type !== "object") found.push(["type", "must be \"object\" for the parameters of a function"]);
  if (schema.required !== undefined && !Array.isArray(schema.required)) found.push([join(path, "required"), "must be a list"]);
  for (const name of Array.isArray(schema.required) ? schema.required : []) {
    if (!(name in (schema.properties ?? {}))) found.push([join(path, "required"), `names ${JSON.stringify(name)}, which is no property`]);
  }
  for (const [name, item] of Object.entries(schema.properties ?? {})) found.push(...problemsOfSchema(item, join(path, name)));
  if (schema.items !== undefined) found.push(...problemsOfSchema(schema.items, `${path}[]`));
  return found.slice(0, MAX_PROBLEMS);
}
