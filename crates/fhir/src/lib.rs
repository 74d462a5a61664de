//! FHIR R4: tables, parse, validate, search grammar and extraction, data classes
