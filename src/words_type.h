/*
 * words_type.h
 *	  What the types that are read by words.h have in common: input, comparison, hash.
 *
 * A type's file says what is its own, all static: `forms` (the hint: what is valid), parse(Words *, Type *), check(const
 * Type *) and compare(const Type *, const Type *); equal values are equal bytes.  Then WORDS_TYPE(expiry, Expiry) defines
 * expiry_in, expiry_eq to expiry_ge, expiry_cmp, expiry_hash and expiry_hash_extended.
 */
#ifndef LOYALTY_WORDS_TYPE_H
#define LOYALTY_WORDS_TYPE_H

#include "common/hashfn.h"
#include "fmgr.h"

#include "words.h"

#define WORDS_TYPE_COMPARISON(name, Type, suffix, operator) \
PG_FUNCTION_INFO_V1(name##_##suffix); \
Datum \
name##_##suffix(PG_FUNCTION_ARGS) \
{ \
	PG_RETURN_BOOL(compare((const Type *) PG_GETARG_POINTER(0), (const Type *) PG_GETARG_POINTER(1)) operator 0); \
} \
extern int no_such_thing

#define WORDS_TYPE(name, Type) \
PG_FUNCTION_INFO_V1(name##_in); \
Datum \
name##_in(PG_FUNCTION_ARGS) \
{ \
	Type	   *value = palloc0(sizeof(Type)); \
	Words		words; \
\
	if (!words_split(&words, PG_GETARG_CSTRING(0), #name, forms, fcinfo->context) || !parse(&words, value)) \
		PG_RETURN_NULL(); \
	Assert(check(value)); \
	PG_RETURN_POINTER(value); \
} \
PG_FUNCTION_INFO_V1(name##_cmp); \
Datum \
name##_cmp(PG_FUNCTION_ARGS) \
{ \
	PG_RETURN_INT32(compare((const Type *) PG_GETARG_POINTER(0), (const Type *) PG_GETARG_POINTER(1))); \
} \
PG_FUNCTION_INFO_V1(name##_hash); \
Datum \
name##_hash(PG_FUNCTION_ARGS) \
{ \
	return hash_any((const unsigned char *) PG_GETARG_POINTER(0), sizeof(Type)); \
} \
PG_FUNCTION_INFO_V1(name##_hash_extended); \
Datum \
name##_hash_extended(PG_FUNCTION_ARGS) \
{ \
	return hash_any_extended((const unsigned char *) PG_GETARG_POINTER(0), sizeof(Type), PG_GETARG_INT64(1)); \
} \
WORDS_TYPE_COMPARISON(name, Type, eq, ==); \
WORDS_TYPE_COMPARISON(name, Type, ne, !=); \
WORDS_TYPE_COMPARISON(name, Type, lt, <); \
WORDS_TYPE_COMPARISON(name, Type, le, <=); \
WORDS_TYPE_COMPARISON(name, Type, gt, >); \
WORDS_TYPE_COMPARISON(name, Type, ge, >=)

#endif
