/* Names of character classes: Go's lookup, RE2's spelling. */
#include "index/match/syntax_private.h"

#include <stdlib.h>

#define NAME_BYTES_MAX 32 /* longer than any name */

/* Small letters without ' ', '_' and '-', sorted; and how RE2 spells the class. */
struct name {
    char key[NAME_BYTES_MAX];
    char re2[NAME_BYTES_MAX];
};
static const struct name names[] = {
    {"adlam", "Adlam"},
    {"ahom", "Ahom"},
    {"anatolianhieroglyphs", "Anatolian_Hieroglyphs"},
    {"any", "Any"},
    {"arabic", "Arabic"},
    {"armenian", "Armenian"},
    {"avestan", "Avestan"},
    {"balinese", "Balinese"},
    {"bamum", "Bamum"},
    {"bassavah", "Bassa_Vah"},
    {"batak", "Batak"},
    {"bengali", "Bengali"},
    {"bhaiksuki", "Bhaiksuki"},
    {"bopomofo", "Bopomofo"},
    {"brahmi", "Brahmi"},
    {"braille", "Braille"},
    {"buginese", "Buginese"},
    {"buhid", "Buhid"},
    {"canadianaboriginal", "Canadian_Aboriginal"},
    {"carian", "Carian"},
    {"caucasianalbanian", "Caucasian_Albanian"},
    {"cc", "Cc"},
    {"cf", "Cf"},
    {"chakma", "Chakma"},
    {"cham", "Cham"},
    {"cherokee", "Cherokee"},
    {"chorasmian", "Chorasmian"},
    {"closepunctuation", "Pe"},
    {"cntrl", "Cc"},
    {"co", "Co"},
    {"combiningmark", "M"},
    {"common", "Common"},
    {"connectorpunctuation", "Pc"},
    {"control", "Cc"},
    {"coptic", "Coptic"},
    {"cs", "Cs"},
    {"cuneiform", "Cuneiform"},
    {"currencysymbol", "Sc"},
    {"cypriot", "Cypriot"},
    {"cyprominoan", "Cypro_Minoan"},
    {"cyrillic", "Cyrillic"},
    {"dashpunctuation", "Pd"},
    {"decimalnumber", "Nd"},
    {"deseret", "Deseret"},
    {"devanagari", "Devanagari"},
    {"digit", "Nd"},
    {"divesakuru", "Dives_Akuru"},
    {"dogra", "Dogra"},
    {"duployan", "Duployan"},
    {"egyptianhieroglyphs", "Egyptian_Hieroglyphs"},
    {"elbasan", "Elbasan"},
    {"elymaic", "Elymaic"},
    {"enclosingmark", "Me"},
    {"ethiopic", "Ethiopic"},
    {"finalpunctuation", "Pf"},
    {"format", "Cf"},
    {"georgian", "Georgian"},
    {"glagolitic", "Glagolitic"},
    {"gothic", "Gothic"},
    {"grantha", "Grantha"},
    {"greek", "Greek"},
    {"gujarati", "Gujarati"},
    {"gunjalagondi", "Gunjala_Gondi"},
    {"gurmukhi", "Gurmukhi"},
    {"han", "Han"},
    {"hangul", "Hangul"},
    {"hanifirohingya", "Hanifi_Rohingya"},
    {"hanunoo", "Hanunoo"},
    {"hatran", "Hatran"},
    {"hebrew", "Hebrew"},
    {"hiragana", "Hiragana"},
    {"imperialaramaic", "Imperial_Aramaic"},
    {"inherited", "Inherited"},
    {"initialpunctuation", "Pi"},
    {"inscriptionalpahlavi", "Inscriptional_Pahlavi"},
    {"inscriptionalparthian", "Inscriptional_Parthian"},
    {"javanese", "Javanese"},
    {"kaithi", "Kaithi"},
    {"kannada", "Kannada"},
    {"katakana", "Katakana"},
    {"kawi", "Kawi"},
    {"kayahli", "Kayah_Li"},
    {"kharoshthi", "Kharoshthi"},
    {"khitansmallscript", "Khitan_Small_Script"},
    {"khmer", "Khmer"},
    {"khojki", "Khojki"},
    {"khudawadi", "Khudawadi"},
    {"l", "L"},
    {"lao", "Lao"},
    {"latin", "Latin"},
    {"lepcha", "Lepcha"},
    {"letter", "L"},
    {"letternumber", "Nl"},
    {"limbu", "Limbu"},
    {"lineara", "Linear_A"},
    {"linearb", "Linear_B"},
    {"lineseparator", "Zl"},
    {"lisu", "Lisu"},
    {"ll", "Ll"},
    {"lm", "Lm"},
    {"lo", "Lo"},
    {"lowercaseletter", "Ll"},
    {"lt", "Lt"},
    {"lu", "Lu"},
    {"lycian", "Lycian"},
    {"lydian", "Lydian"},
    {"m", "M"},
    {"mahajani", "Mahajani"},
    {"makasar", "Makasar"},
    {"malayalam", "Malayalam"},
    {"mandaic", "Mandaic"},
    {"manichaean", "Manichaean"},
    {"marchen", "Marchen"},
    {"mark", "M"},
    {"masaramgondi", "Masaram_Gondi"},
    {"mathsymbol", "Sm"},
    {"mc", "Mc"},
    {"me", "Me"},
    {"medefaidrin", "Medefaidrin"},
    {"meeteimayek", "Meetei_Mayek"},
    {"mendekikakui", "Mende_Kikakui"},
    {"meroiticcursive", "Meroitic_Cursive"},
    {"meroitichieroglyphs", "Meroitic_Hieroglyphs"},
    {"miao", "Miao"},
    {"mn", "Mn"},
    {"modi", "Modi"},
    {"modifierletter", "Lm"},
    {"modifiersymbol", "Sk"},
    {"mongolian", "Mongolian"},
    {"mro", "Mro"},
    {"multani", "Multani"},
    {"myanmar", "Myanmar"},
    {"n", "N"},
    {"nabataean", "Nabataean"},
    {"nagmundari", "Nag_Mundari"},
    {"nandinagari", "Nandinagari"},
    {"nd", "Nd"},
    {"newa", "Newa"},
    {"newtailue", "New_Tai_Lue"},
    {"nko", "Nko"},
    {"nl", "Nl"},
    {"no", "No"},
    {"nonspacingmark", "Mn"},
    {"number", "N"},
    {"nushu", "Nushu"},
    {"nyiakengpuachuehmong", "Nyiakeng_Puachue_Hmong"},
    {"ogham", "Ogham"},
    {"olchiki", "Ol_Chiki"},
    {"oldhungarian", "Old_Hungarian"},
    {"olditalic", "Old_Italic"},
    {"oldnortharabian", "Old_North_Arabian"},
    {"oldpermic", "Old_Permic"},
    {"oldpersian", "Old_Persian"},
    {"oldsogdian", "Old_Sogdian"},
    {"oldsoutharabian", "Old_South_Arabian"},
    {"oldturkic", "Old_Turkic"},
    {"olduyghur", "Old_Uyghur"},
    {"openpunctuation", "Ps"},
    {"oriya", "Oriya"},
    {"osage", "Osage"},
    {"osmanya", "Osmanya"},
    {"otherletter", "Lo"},
    {"othernumber", "No"},
    {"otherpunctuation", "Po"},
    {"othersymbol", "So"},
    {"p", "P"},
    {"pahawhhmong", "Pahawh_Hmong"},
    {"palmyrene", "Palmyrene"},
    {"paragraphseparator", "Zp"},
    {"paucinhau", "Pau_Cin_Hau"},
    {"pc", "Pc"},
    {"pd", "Pd"},
    {"pe", "Pe"},
    {"pf", "Pf"},
    {"phagspa", "Phags_Pa"},
    {"phoenician", "Phoenician"},
    {"pi", "Pi"},
    {"po", "Po"},
    {"privateuse", "Co"},
    {"ps", "Ps"},
    {"psalterpahlavi", "Psalter_Pahlavi"},
    {"punct", "P"},
    {"punctuation", "P"},
    {"rejang", "Rejang"},
    {"runic", "Runic"},
    {"s", "S"},
    {"samaritan", "Samaritan"},
    {"saurashtra", "Saurashtra"},
    {"sc", "Sc"},
    {"separator", "Z"},
    {"sharada", "Sharada"},
    {"shavian", "Shavian"},
    {"siddham", "Siddham"},
    {"signwriting", "SignWriting"},
    {"sinhala", "Sinhala"},
    {"sk", "Sk"},
    {"sm", "Sm"},
    {"so", "So"},
    {"sogdian", "Sogdian"},
    {"sorasompeng", "Sora_Sompeng"},
    {"soyombo", "Soyombo"},
    {"spaceseparator", "Zs"},
    {"spacingmark", "Mc"},
    {"sundanese", "Sundanese"},
    {"surrogate", "Cs"},
    {"sylotinagri", "Syloti_Nagri"},
    {"symbol", "S"},
    {"syriac", "Syriac"},
    {"tagalog", "Tagalog"},
    {"tagbanwa", "Tagbanwa"},
    {"taile", "Tai_Le"},
    {"taitham", "Tai_Tham"},
    {"taiviet", "Tai_Viet"},
    {"takri", "Takri"},
    {"tamil", "Tamil"},
    {"tangsa", "Tangsa"},
    {"tangut", "Tangut"},
    {"telugu", "Telugu"},
    {"thaana", "Thaana"},
    {"thai", "Thai"},
    {"tibetan", "Tibetan"},
    {"tifinagh", "Tifinagh"},
    {"tirhuta", "Tirhuta"},
    {"titlecaseletter", "Lt"},
    {"toto", "Toto"},
    {"ugaritic", "Ugaritic"},
    {"uppercaseletter", "Lu"},
    {"vai", "Vai"},
    {"vithkuqi", "Vithkuqi"},
    {"wancho", "Wancho"},
    {"warangciti", "Warang_Citi"},
    {"yezidi", "Yezidi"},
    {"yi", "Yi"},
    {"z", "Z"},
    {"zanabazarsquare", "Zanabazar_Square"},
    {"zl", "Zl"},
    {"zp", "Zp"},
    {"zs", "Zs"},
};

/* Classes that are several of RE2's. */
struct several {
    char key[NAME_BYTES_MAX];
    const char *parts;  /* for brackets */
    const char *others; /* the same for all the rest; NULL: RE2 has no words for it */
    bool negated;       /* parts are what is not in the class */
};
#define EACH_CATEGORY "\\pL\\pM\\pN\\pP\\pS\\pZ\\pC"
static const struct several several[] = {
    {"ascii", "\\x00-\\x7F", "\\x{80}-\\x{10FFFF}", false},
    {"assigned", EACH_CATEGORY, NULL, false},
    {"cn", EACH_CATEGORY, NULL, true},
    {"unassigned", EACH_CATEGORY, NULL, true},
    {"lc", "\\p{Lu}\\p{Ll}\\p{Lt}", NULL, false},
    {"casedletter", "\\p{Lu}\\p{Ll}\\p{Lt}", NULL, false},
    /* with what is not assigned, which RE2's does not hold */
    {"c", "\\pL\\pM\\pN\\pP\\pS\\pZ", "\\pC", true},
    {"other", "\\pL\\pM\\pN\\pP\\pS\\pZ", "\\pC", true},
};

static int name_compare(const void *key, const void *row)
{
    return strcmp(key, ((const struct name *)row)->key);
}

/* False: too long, or not ASCII. */
static bool key_of(const char *name, size_t len, char key[NAME_BYTES_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        if (c == ' ' || c == '_' || c == '-') {
            continue;
        }
        bool upper = c >= 'A' && c <= 'Z';
        if (n + 1 >= NAME_BYTES_MAX || !(upper || (c >= 'a' && c <= 'z'))) {
            return false;
        }
        key[n++] = upper ? (char)(c | 0x20) : c;
    }
    key[n] = '\0';
    return n > 0;
}

static bool put_several(const struct several *s, bool negated, bool in_brackets,
                        struct tsdb_buf *out)
{
    negated = negated != s->negated;
    if (!in_brackets) {
        tsdb_buf_printf(out, negated ? "[^%s]" : "[%s]", s->parts);
        return true;
    }
    const char *parts = negated ? s->others : s->parts;
    if (parts) {
        tsdb_buf_put_str(out, parts);
    }
    return parts != NULL;
}

bool index_syntax_put_class(const char *name, size_t len, bool negated, bool in_brackets,
                            struct tsdb_buf *out)
{
    char key[NAME_BYTES_MAX];
    if (!key_of(name, len, key)) {
        return false;
    }
    for (size_t i = 0; i < TSDB_ARRAY_LEN(several); i++) {
        if (strcmp(several[i].key, key) == 0) {
            return put_several(&several[i], negated, in_brackets, out);
        }
    }
    const struct name *n =
        bsearch(key, names, TSDB_ARRAY_LEN(names), sizeof names[0], name_compare);
    if (n) {
        tsdb_buf_printf(out, "\\%c{%s}", negated ? 'P' : 'p', n->re2);
    }
    return n != NULL;
}

bool index_syntax_is_ascii_class(const char *name, size_t len)
{
    static const char *const known[] = {
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph",
        "lower", "print", "punct", "space", "upper", "word",  "xdigit",
    };
    size_t negated = len > 2 && name[2] == '^';
    for (size_t i = 0; i < TSDB_ARRAY_LEN(known); i++) {
        size_t n = strlen(known[i]);
        if (len == n + 4 + negated && memcmp(name + 2 + negated, known[i], n) == 0) {
            return true;
        }
    }
    return false;
}
