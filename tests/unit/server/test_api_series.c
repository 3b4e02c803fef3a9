/* /api/v1/series, /labels, /label/<name>/values over a whole server. */
#include "tests/unit/server/server_rig.h"

static void names__series_labels_values__are_listed(void **state)
{
    (void)state;
    static const struct path_case cases[] = {
        {"/api/v1/labels", 200, OK_DATA("[\"__name__\",\"job\"]")},
        {"/api/v1/labels?match[]=nothing", 200, OK_DATA("[]")},
        {"/api/v1/labels?limit=1", 200,
         "{\"status\":\"success\",\"data\":[\"__name__\"],\"warnings\":[\"results truncated due to "
         "limit\"]}"},
        {"/api/v1/label/job/values", 200, OK_DATA("[\"j\"]")},
        {"/api/v1/label/__name__/values", 200, OK_DATA("[\"a\",\"b\",\"c.d\"]")},
        {"/api/v1/label/__name__/values?match[]=a&match[]=%7B__name__=%22b%22%7D", 200,
         OK_DATA("[\"a\",\"b\"]")},
        {"/api/v1/label/unknown/values", 200, OK_DATA("[]")},
        {"/api/v1/label/%6Aob/values", 200, OK_DATA("[\"j\"]")},
        {"/api/v1/label/U__j_6f_b/values", 200, OK_DATA("[\"j\"]")},
        {"/api/v1/label/U__/values", 400, BAD_DATA("invalid label name: \\\"\\\"")},
        {"/api/v1/label/%zz/values", 400, BAD_DATA("invalid label name: \\\"%zz\\\"")},
        {"/api/v1/label/%ff/values", 400, NULL},
        {"/api/v1/label//values", 404, "404 page not found\n"},
        {"/api/v1/label/a/b/values", 404, "404 page not found\n"},
        {"/api/v1/label/a/values/", 404, "404 page not found\n"},
        {"/api/v1/series", 400, BAD_DATA("no match[] parameter provided")},
        {"/api/v1/series?match[]=a&match[]=a", 200,
         OK_DATA("[{\"__name__\":\"a\",\"job\":\"j\"}]")},
        {"/api/v1/series?match[]=%7B%22c.d%22%7D", 200,
         OK_DATA("[{\"__name__\":\"c.d\",\"job\":\"j\"}]")},
        {"/api/v1/series?match[]=%7Bnosuch=%22x%22%7D", 200, OK_DATA("[]")},
        {"/api/v1/series?match[]=a&limit=1", 200, OK_DATA("[{\"__name__\":\"a\",\"job\":\"j\"}]")},
        {"/api/v1/series?match[]=%7Ba=%22%22%7D", 400,
         BAD_DATA("invalid parameter \\\"match[]\\\": match[] must contain at least one non-empty "
                  "matcher")},
        {"/api/v1/labels?match[]=%7Ba=~%22.*%22%7D", 400,
         BAD_DATA("match[] must contain at least one non-empty matcher")},
        {"/api/v1/labels?match[]=sum(a)", 400, NULL},
        {"/api/v1/labels?match[]=%7Ba=~%22(%22%7D", 400, NULL},
        {"/api/v1/labels?start=x", 400, NULL},
        {"/api/v1/labels?start=1700000000&end=1699999999", 200, NULL},
        {"/api/v1/labels?start=-292273086-05-16T16:47:06Z&end=292277025-08-18T07:12:54.999999999Z",
         200, OK_DATA("[\"__name__\",\"job\"]")},
    };
    start();
    write_some();
    write_sample("c.d", T0, 1, 204, NULL);
    expect_paths(cases, TSDB_ARRAY_LEN(cases));
    struct http_answer a;
    http_client_once(port, "GET", "/api/v1/series?match[]=%7Bjob=%22j%22%7D&limit=1", NULL, NULL, 0,
                     &a);
    assert_int_equal(a.status, 200); /* which one of the three is the engine's choice */
    assert_non_null(strstr(a.body, "\"data\":[{\"__name__\":\""));
    assert_null(strstr(a.body, "},{"));
    assert_non_null(strstr(a.body, "\"warnings\":[\"results truncated due to limit\"]"));
    http_answer_free(&a);
    expect("POST", "/api/v1/series?match[]=b", FORM, "match%5B%5D=a", 200,
           OK_DATA("[{\"__name__\":\"a\",\"job\":\"j\"},{\"__name__\":\"b\",\"job\":\"j\"}]"));
    expect("POST", "/api/v1/labels", FORM, "match%5B%5D=a&start=0", 200,
           OK_DATA("[\"__name__\",\"job\"]"));
}

static const struct CMUnitTest tests[] = {
    CASE(names__series_labels_values__are_listed),
};

TEST_MAIN(tests)
